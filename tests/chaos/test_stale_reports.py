"""Workers that are late, or lie: their reports change no row, and they are told to stop."""

import asyncpg
import pytest

from tests.chaos.fingerprint import count_rows, fingerprint
from tests.chaos.raw import RawClient, RawWorker
from tests.chaos.reports import REPORTS, FrameMaker, stopped
from tests.chaos.tenants import other_tenant_token
from tests.support.eventually import eventually
from treadle.model.ids import new_id
from treadle.model.states import RunStatus
from treadle.testing.engine import EngineProcess
from treadle.wire.gen.treadle.v1 import worker_pb2

NOBODYS_IDS = {
    "new": "0193a5b0-0000-7000-8000-000000000001",
    "random": "6dbd7ea3-41c0-4f6b-a4a6-9c2b37d3ba20",
    "words": "no id",
    "empty": "",
    "long": "x" * 10_000,
}
every_report = pytest.mark.parametrize("report", REPORTS, ids=lambda maker: maker.__name__)


@every_report
async def test_a_superseded_attempt_changes_nothing(
    client: RawClient, connection: asyncpg.Connection, task: tuple[str, str], report: FrameMaker
) -> None:
    """A worker that was given up on comes back and reports: no row changes, and it is told to stop."""
    name, action = task
    lost, heir = RawWorker(client, actions=[action]), RawWorker(client, actions=[action])
    await lost.connect()
    (task_id,) = await client.start(name, "{}")
    assert (await lost.receive(task_id)).attempt == 1
    async with heir:
        await lost.vanish()
        delivery = await heir.receive(task_id, attempt=2)
        assert delivery.retries_used == 0, "losing a worker costs the user no retry"
        await lost.connect(in_hand=[(task_id, 1)])
        cancel = await lost.cancelled(task_id, 1)
        assert cancel.reason == worker_pb2.CANCEL_REASON_SUPERSEDED
        before = await fingerprint(connection, task_id)

        await lost.send(report(task_id, 1))
        await lost.barrier()
        assert await fingerprint(connection, task_id) == before

        await heir.complete(task_id, 2, b'{"by": "the heir"}')
        await heir.settled(task_id, 2)
    assert await client.ended(task_id) == (RunStatus.COMPLETED, b'{"by": "the heir"}')
    await lost.vanish()


async def test_the_report_of_a_superseded_attempt_is_answered(
    client: RawClient, connection: asyncpg.Connection, task: tuple[str, str]
) -> None:
    """Settled, so that it is not sent for ever; and told to stop, even when the worker did not list it as in hand."""
    name, action = task
    lost, heir = RawWorker(client, actions=[action]), RawWorker(client, actions=[action])
    await lost.connect()
    (task_id,) = await client.start(name, "{}")
    await lost.receive(task_id)
    async with heir:
        await lost.vanish()
        await heir.receive(task_id, attempt=2)
        before = await fingerprint(connection, task_id)
        await lost.connect()
        await lost.complete(task_id, 1)
        await lost.settled(task_id, 1)
        cancel = await lost.cancelled(task_id, 1)
        assert cancel.reason == worker_pb2.CANCEL_REASON_SUPERSEDED
        assert await fingerprint(connection, task_id) == before
        await heir.complete(task_id, 2)
        await heir.settled(task_id, 2)
    await lost.vanish()


@every_report
async def test_another_workers_attempt_is_out_of_reach(
    client: RawClient, connection: asyncpg.Connection, task: tuple[str, str], report: FrameMaker
) -> None:
    """Only the worker that was given an attempt can report on it."""
    name, action = task
    owner, liar = RawWorker(client, actions=[action]), RawWorker(client, actions=["other:other"])
    async with owner, liar:
        (task_id,) = await client.start(name, "{}")
        await owner.receive(task_id)
        await owner.barrier()
        before = await fingerprint(connection, task_id)

        await liar.send(report(task_id, 1))
        await liar.barrier()
        assert await fingerprint(connection, task_id) == before

        await owner.complete(task_id, 1, b'{"by": "the owner"}')
        await owner.settled(task_id, 1)
    assert await client.ended(task_id) == (RunStatus.COMPLETED, b'{"by": "the owner"}')


@every_report
async def test_another_tenants_attempt_is_out_of_reach(
    engine: EngineProcess,
    client: RawClient,
    connection: asyncpg.Connection,
    task: tuple[str, str],
    report: FrameMaker,
) -> None:
    """A worker of another tenant changes nothing, and learns nothing: the answer is that for an id that does not exist."""
    name, action = task
    token = await other_tenant_token(connection, grpc_address=engine.grpc_address)
    stranger_client = RawClient(engine.grpc_address, token)
    stranger, guesser = (RawWorker(stranger_client, actions=[action]) for _ in range(2))
    async with RawWorker(client, actions=[action]) as owner, stranger, guesser:
        (task_id,) = await client.start(name, "{}")
        await owner.receive(task_id)
        await owner.barrier()
        before = await fingerprint(connection, task_id)

        await stranger.send(report(task_id, 1))
        await stranger.barrier()
        assert await fingerprint(connection, task_id) == before
        unknown = new_id()
        await guesser.send(report(unknown, 1))
        await guesser.barrier()

        def both_are_told_the_same() -> None:
            assert _told(stranger, task_id) == _told(guesser, unknown)

        await eventually(both_are_told_the_same)

        await owner.complete(task_id, 1, b'{"by": "the owner"}')
        await owner.settled(task_id, 1)
    assert await client.ended(task_id) == (RunStatus.COMPLETED, b'{"by": "the owner"}')
    await stranger_client.close()


@every_report
@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
async def test_a_finished_run_is_finished(
    client: RawClient,
    connection: asyncpg.Connection,
    task: tuple[str, str],
    report: FrameMaker,
    end: str,
) -> None:
    """Whatever is reported later about its last attempt, and by its own worker."""
    name, action = task
    async with RawWorker(client, actions=[action]) as worker:
        (task_id,) = await client.start(name, "{}")
        await worker.receive(task_id)
        await _end(client, worker, task_id, end)
        await worker.barrier()
        before = await fingerprint(connection, task_id)
        assert len(before["task_result"]) == 1

        await worker.send(report(task_id, 1))
        await worker.send(report(task_id, 1))
        await worker.barrier()
        assert await fingerprint(connection, task_id) == before


@pytest.mark.parametrize("attempt", [2, 0, -1, 2**31 - 1])
@every_report
async def test_an_attempt_that_was_never_given_changes_nothing(
    client: RawClient,
    connection: asyncpg.Connection,
    task: tuple[str, str],
    report: FrameMaker,
    attempt: int,
) -> None:
    """A number that is not the current attempt's is nobody's."""
    name, action = task
    async with RawWorker(client, actions=[action]) as worker:
        (task_id,) = await client.start(name, "{}")
        await worker.receive(task_id)
        await worker.barrier()
        before = await fingerprint(connection, task_id)
        await worker.send(report(task_id, attempt))
        await worker.barrier()
        assert await fingerprint(connection, task_id) == before
        await worker.complete(task_id, 1, b'{"by": "the owner"}')
        await worker.settled(task_id, 1)
    assert await client.ended(task_id) == (RunStatus.COMPLETED, b'{"by": "the owner"}')


@pytest.mark.parametrize("unknown", NOBODYS_IDS.values(), ids=NOBODYS_IDS.keys())
@every_report
async def test_an_unknown_id_stores_nothing(
    client: RawClient, connection: asyncpg.Connection, task: tuple[str, str], report: FrameMaker, unknown: str
) -> None:
    """Neither a made-up id nor a text that is none: no row appears, and the session and its neighbours go on."""
    name, action = task
    async with RawWorker(client, actions=[action]) as worker:
        before = await count_rows(connection)
        await worker.send(report(unknown, 1))
        await worker.barrier()
        assert await count_rows(connection) == before
        (task_id,) = await client.start(name, "{}")
        await worker.receive(task_id)
        mixed = report(unknown, 1)
        mixed.completed.append(worker_pb2.Completion(task_id=task_id, attempt=1, output=b'{"by": "the owner"}'))
        await worker.send(mixed)
        await worker.settled(task_id, 1)
    assert await client.ended(task_id) == (RunStatus.COMPLETED, b'{"by": "the owner"}')


def _told(worker: RawWorker, task_id: str) -> tuple[int, list[int]]:
    """What the engine has told a worker about an id: how often settled, and why to stop."""
    settled = worker.seen(lambda frame: sum(each.task_id == task_id for each in frame.settled) or None)
    cancels = worker.seen(lambda frame: [each.reason for each in frame.cancels if each.task_id == task_id] or None)
    return sum(settled), [int(reason) for reasons in cancels for reason in reasons]


async def _end(client: RawClient, worker: RawWorker, task_id: str, end: str) -> None:
    match end:
        case "completed":
            await worker.complete(task_id, 1, b'{"by": "the owner"}')
            await worker.settled(task_id, 1)
        case "failed":
            failure = worker_pb2.Failure(task_id=task_id, attempt=1, error="ValueError: really", should_not_retry=True)
            await worker.send(worker_pb2.WorkerFrame(failed=[failure]))
            await worker.settled(task_id, 1)
        case _:
            await client.cancel(task_id)
            await worker.cancelled(task_id, 1)
            await worker.send(stopped(task_id, 1))
