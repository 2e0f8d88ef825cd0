"""What one worker holds in the engine's memory - its slots, its session - no other worker can take or free."""

import asyncpg

from tests.chaos.raw import RawClient, RawWorker
from tests.chaos.reports import stopped
from tests.chaos.tenants import other_tenant_token
from treadle.model.states import RunStatus
from treadle.testing.engine import EngineProcess
from treadle.wire.gen.treadle.v1 import worker_pb2


def _deliveries(worker: RawWorker, task_id: str) -> list[worker_pb2.Delivery]:
    return [each for frame in worker.seen(lambda frame: frame) for each in frame.deliveries if each.task_id == task_id]


async def test_only_the_worker_itself_frees_its_slot(client: RawClient, task: tuple[str, str]) -> None:
    """A cancelled attempt keeps its slot until its own worker says that the code has ended."""
    name, action = task
    owner, liar = RawWorker(client, actions=[action], slots=1), RawWorker(client, actions=["other:other"])
    async with owner, liar:
        task_id, following = await client.start(name, "{}", "{}")
        await owner.receive(task_id)
        await client.cancel(task_id)
        await owner.cancelled(task_id, 1)
        await liar.send(stopped(task_id, 1))
        await liar.barrier()
        await owner.barrier()
        assert _deliveries(owner, following) == [], "the one slot is still taken"
        await owner.send(stopped(task_id, 1))
        await owner.receive(following)
        await owner.complete(following, 1)
        await owner.settled(following, 1)


async def test_saying_stopped_twice_frees_one_slot(client: RawClient, task: tuple[str, str]) -> None:
    """The second word is about nothing: a worker is never given more than it has room for."""
    name, action = task
    async with RawWorker(client, actions=[action], slots=1) as worker:
        task_id, second, third = await client.start(name, "{}", "{}", "{}")
        await worker.receive(task_id)
        await client.cancel(task_id)
        await worker.cancelled(task_id, 1)
        for _ in range(3):
            await worker.send(stopped(task_id, 1))
        await worker.receive(second)
        await worker.barrier()
        assert _deliveries(worker, third) == []
        await worker.complete(second, 1)
        await worker.receive(third)
        await worker.complete(third, 1)
        await worker.settled(third, 1)


async def test_another_tenant_cannot_come_back_as_my_worker(
    engine: EngineProcess, client: RawClient, task: tuple[str, str], connection: asyncpg.Connection
) -> None:
    """A worker id of another tenant is like one that never was: a new one is given, and its owner goes on untouched."""
    name, action = task
    stranger_client = RawClient(
        engine.grpc_address, await other_tenant_token(connection, grpc_address=engine.grpc_address)
    )
    async with RawWorker(client, actions=[action]) as owner:
        thief = RawWorker(stranger_client, actions=[action])
        thief.worker_id = owner.worker_id
        await thief.connect()
        assert thief.worker_id != owner.worker_id
        await thief.vanish()
        (task_id,) = await client.start(name, "{}")
        await owner.receive(task_id, attempt=1)
        await owner.complete(task_id, 1)
        await owner.settled(task_id, 1)
    assert (await client.ended(task_id))[0] is RunStatus.COMPLETED
    await stranger_client.close()


async def test_a_second_session_takes_over_from_the_first(client: RawClient, task: tuple[str, str]) -> None:
    """A worker that connects again while its old stream still stands is one worker: nothing is delivered twice."""
    name, action = task
    first = RawWorker(client, actions=[action], slots=1)
    async with first:
        (task_id,) = await client.start(name, "{}")
        await first.receive(task_id)
        second = RawWorker(client, actions=[action], slots=1)
        second.worker_id = first.worker_id
        await second.connect(in_hand=[(task_id, 1)])
        await second.barrier()
        assert _deliveries(second, task_id) == []
        await second.complete(task_id, 1, b'{"by": "the second session"}')
        await second.settled(task_id, 1)
        await second.vanish()
    assert await client.ended(task_id) == (RunStatus.COMPLETED, b'{"by": "the second session"}')
