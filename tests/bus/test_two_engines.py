"""Two engines on one database: whatever a worker or a client does at one of them, it makes no difference which."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from tests.bus.engines import LONG, Engines, ended, pushed_results, running
from tests.support.eventually import eventually
from treadle.bus import link
from treadle.model.ids import new_id
from treadle.model.states import RunStatus
from treadle.scheduler import leases
from treadle.wire.gen.hatchet import dispatcher_pb2
from treadle.wire.gen.treadle.v1 import runs_pb2, worker_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.chaos.raw import RawClient, RawWorker

COMPLETED, FAILED, CANCELLED = RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED


@pytest.fixture
async def engines(database_url: str, tmp_path: Path) -> AsyncIterator[Engines]:
    async with running(database_url, tmp_path, lost_after=2.0) as engines:
        yield engines


class Far:
    """The owner's client, and a client and a worker of the other engine."""

    def __init__(self, near: RawClient, far: RawClient, worker: RawWorker) -> None:
        self.near = near
        self.far = far
        self.worker = worker


async def far_worker(engines: Engines, *, slots: int = 10, retries: int = 0, lasting: str = "5m") -> Far:
    """A task `job`, with a worker at the engine that does not own the tenant."""
    owner, other = await engines.apart()
    near, far = engines.client(owner), engines.client(other)
    action = await far.put_task("job", retries=retries, lasting=lasting)
    return Far(near, far, await engines.worker(far, action, slots=slots))


async def test_work_goes_to_the_other_engine_and_comes_back(engines: Engines) -> None:
    here = await far_worker(engines)
    for client in (here.near, here.far):
        run_ids = await client.start("job", '{"n": 1}', '{"n": 2}')
        for run_id in run_ids:
            delivery = await here.worker.receive(run_id)
            assert delivery.action == "job:job"
            await here.worker.complete(run_id, delivery.attempt, b'{"done": true}')
            await here.worker.settled(run_id, 1)
        assert await ended(here.near, *run_ids) == [(COMPLETED, b'{"done": true}')] * 2


async def test_every_field_of_a_delivery_crosses_the_link(engines: Engines) -> None:
    here = await far_worker(engines, retries=2)
    request = runs_pb2.StartRequest(
        runs=[runs_pb2.NewRun(task="job", input=b'{"text": "\xc3\xa9"}', metadata='{"k":"v"}', priority=3)]
    )
    response = await here.near.call("/treadle.v1.Runs/Start", request, runs_pb2.StartResponse)
    run_id = response.outcomes[0].run_id if response.outcomes else response.run_ids[0]
    delivery = await here.worker.receive(run_id)
    assert (delivery.input, delivery.metadata, delivery.priority) == (b'{"text": "\xc3\xa9"}', '{"k":"v"}', 3)
    assert (delivery.max_retries, delivery.retries_used, delivery.timeout_ms) == (2, 0, 300_000)
    failure = worker_pb2.Failure(task_id=run_id, attempt=1, error="Boom: é", retry_after_ms=1)
    await here.worker.send(worker_pb2.WorkerFrame(failed=[failure]))
    again = await here.worker.receive(run_id, attempt=2)
    assert (again.retries_used, again.input, again.metadata) == (1, delivery.input, delivery.metadata)
    request = runs_pb2.StartRequest(
        runs=[runs_pb2.NewRun(task="job", input=b"{}", parent_task_id=run_id, child_index=0, child_key="first")]
    )
    child = await here.far.call("/treadle.v1.Runs/Start", request, runs_pb2.StartResponse)
    child_id = child.outcomes[0].run_id if child.outcomes else child.run_ids[0]
    assert (await here.worker.receive(child_id)).parent_id == run_id


async def test_a_failure_ends_a_run(engines: Engines) -> None:
    here = await far_worker(engines)
    (run_id,) = await here.far.start("job", "{}")
    await here.worker.receive(run_id)
    failure = worker_pb2.Failure(task_id=run_id, attempt=1, error="ValueError: wrong\n  at home")
    log = worker_pb2.LogLine(task_id=run_id, attempt=1, at_us=1_000_000, level="INFO", message="on my way")
    await here.worker.send(worker_pb2.WorkerFrame(failed=[failure], logs=[log]))
    assert (await here.near.ended(run_id))[0] is FAILED
    detail = await here.near.get(run_id)
    assert detail.error == "ValueError: wrong\n  at home"
    assert [line.message for line in detail.logs] == ["on my way"]


async def test_a_report_about_anothers_attempt_is_refused_over_the_link(engines: Engines) -> None:
    here = await far_worker(engines)
    (run_id,) = await here.near.start("job", "{}")
    await here.worker.receive(run_id)
    await here.worker.complete(run_id, 7, b'"never"')
    cancel = await here.worker.cancelled(run_id, 7)
    assert cancel.reason == worker_pb2.CANCEL_REASON_SUPERSEDED
    await here.worker.settled(run_id, 7)
    await here.worker.complete(run_id, 1, b'"right"')
    assert await here.near.ended(run_id) == (COMPLETED, b'"right"')


async def test_cancel_and_replay_from_the_other_engine(engines: Engines) -> None:
    here = await far_worker(engines)
    running_id, queued_id = await here.far.start("job", "{}", "{}")
    await here.worker.receive(running_id)
    assert sorted((await here.far.cancel(running_id, queued_id)).ids) == sorted([running_id, queued_id])
    assert (await here.worker.cancelled(running_id, 1)).reason == worker_pb2.CANCEL_REASON_CANCELLED
    await here.worker.send(worker_pb2.WorkerFrame(stopped=[worker_pb2.Attempt(task_id=running_id, attempt=1)]))
    assert [status for status, _ in await ended(here.near, running_id, queued_id)] == [CANCELLED] * 2
    assert (await here.far.cancel(running_id)).ids == []
    request = runs_pb2.SelectRuns(ids=[running_id])
    replayed = await here.far.call("/treadle.v1.Runs/Replay", request, runs_pb2.ChangedRuns)
    assert replayed.ids == [running_id]
    again = await here.worker.receive(running_id, attempt=2)
    await here.worker.complete(running_id, again.attempt, b'"again"')
    assert await here.far.ended(running_id) == (COMPLETED, b'"again"')


async def test_a_deadline_is_moved_and_a_slot_released_from_the_other_engine(engines: Engines) -> None:
    here = await far_worker(engines, slots=1, lasting="60s")
    first, second = await here.far.start("job", "{}", "{}")
    delivered = await here.worker.receive(first)
    refresh = dispatcher_pb2.RefreshTimeoutRequest(task_run_external_id=first, increment_timeout_by="3600s")
    answer = await here.far.call("/Dispatcher/RefreshTimeout", refresh, dispatcher_pb2.RefreshTimeoutResponse)
    stored = await engines.value("SELECT timeout_at FROM treadle.attempt WHERE task_id = $1", first)
    assert abs(stored.timestamp() - answer.timeout_at.ToDatetime().timestamp()) < 86_400
    assert stored.timestamp() - answer.timeout_at.seconds < 1
    assert here.worker.seen(lambda frame: next((d for d in frame.deliveries if d.task_id == second), None)) == []
    release = dispatcher_pb2.ReleaseSlotRequest(task_run_external_id=first)
    await here.far.call("/Dispatcher/ReleaseSlot", release, dispatcher_pb2.ReleaseSlotResponse)
    await here.worker.receive(second)
    await here.worker.complete(first, delivered.attempt)
    await here.worker.complete(second, 1)
    assert [status for status, _ in await ended(here.near, first, second)] == [COMPLETED] * 2


async def test_what_the_owner_refuses_is_told_at_the_other_engine(engines: Engines) -> None:
    here = await far_worker(engines)
    (run_id,) = await here.far.start("job", "{}")
    await here.worker.receive(run_id)
    await here.worker.complete(run_id, 1)
    await here.far.ended(run_id)
    refresh = dispatcher_pb2.RefreshTimeoutRequest(task_run_external_id=run_id, increment_timeout_by="60s")
    with pytest.raises(grpc.aio.AioRpcError) as far:
        await here.far.call("/Dispatcher/RefreshTimeout", refresh, dispatcher_pb2.RefreshTimeoutResponse)
    with pytest.raises(grpc.aio.AioRpcError) as near:
        await here.near.call("/Dispatcher/RefreshTimeout", refresh, dispatcher_pb2.RefreshTimeoutResponse)
    assert (far.value.code(), far.value.details()) == (near.value.code(), near.value.details())


async def test_results_are_pushed_to_those_who_wait_elsewhere(engines: Engines) -> None:
    """Before the end, after it, and at both engines at once."""
    here = await far_worker(engines)
    early, late = await here.near.start("job", "{}", "{}")
    pushed: dict[RawClient, asyncio.Task[list[runs_pb2.RunResult]]] = {
        client: asyncio.create_task(pushed_results(client, early, late)) for client in (here.near, here.far)
    }
    for run_id in (early, late):
        await here.worker.receive(run_id)
        await here.worker.complete(run_id, 1, b'"x"')
        await here.near.ended(run_id)
    for task in pushed.values():
        results = await asyncio.wait_for(task, LONG)
        assert {result.run_id for result in results} == {early, late}
        assert {(RunStatus(result.status), result.output) for result in results} == {(COMPLETED, b'"x"')}
    assert {result.run_id for result in await pushed_results(here.far, early, late)} == {early, late}


async def test_a_worker_that_vanishes_from_the_other_engine_is_given_up(engines: Engines) -> None:
    here = await far_worker(engines)
    (run_id,) = await here.near.start("job", "{}")
    await here.worker.receive(run_id)
    await here.worker.vanish()
    spare = await engines.worker(here.near, "job:job")
    delivery = await spare.receive(run_id, attempt=2)
    assert delivery.retries_used == 0
    await spare.complete(run_id, 2)
    assert (await here.far.ended(run_id))[0] is COMPLETED


async def test_a_worker_may_come_back_at_another_engine(engines: Engines) -> None:
    """Same worker, other engine: what it has in hand stays its own."""
    here = await far_worker(engines)
    (run_id,) = await here.near.start("job", "{}")
    await here.worker.receive(run_id)
    await here.worker.vanish()
    here.worker._client = here.near
    await here.worker.connect(in_hand=[(run_id, 1)])
    await here.worker.complete(run_id, 1, b'"kept"')
    assert await here.far.ended(run_id) == (COMPLETED, b'"kept"')
    events = {event.kind for event in (await here.near.get(run_id)).events}
    assert "REASSIGNED" not in events


async def test_a_paused_and_a_leaving_worker_elsewhere(engines: Engines) -> None:
    here = await far_worker(engines)
    await here.worker.send(worker_pb2.WorkerFrame(draining=True))
    await here.worker.barrier()
    (run_id,) = await here.near.start("job", "{}")
    spare = await engines.worker(here.near, "job:job")
    await spare.receive(run_id)
    await spare.send(worker_pb2.WorkerFrame(handed_back=[worker_pb2.Attempt(task_id=run_id, attempt=1)]))
    again = await spare.receive(run_id, attempt=2)
    assert again.retries_used == 0
    assert here.worker.seen(lambda frame: frame.deliveries or None) == []


async def test_a_token_of_a_tenant_does_not_open_the_way_between_engines(engines: Engines) -> None:
    owner, _ = await engines.apart()
    client = engines.client(owner)
    method: Any = client.channel.stream_stream(link.PATH, request_serializer=bytes, response_deserializer=bytes)
    call = method(metadata=client.metadata)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


@pytest.mark.parametrize("which", [0, 1])
async def test_calls_about_a_tenant_that_is_new_wait_for_its_owner(engines: Engines, which: int) -> None:
    """They are answered like any others, by whichever engine is asked."""
    token, _ = await engines.new_tenant("newcomer")
    client = engines.client(engines.all[which], token=token)
    ids = [new_id()]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.call(
            "/Dispatcher/ReleaseSlot",
            dispatcher_pb2.ReleaseSlotRequest(task_run_external_id=ids[0]),
            dispatcher_pb2.ReleaseSlotResponse,
        )
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    other_token, _ = await engines.new_tenant("another")
    client = engines.client(engines.all[which], token=other_token)
    assert list((await client.cancel(*ids)).ids) == []


async def test_a_new_tenant_is_owned_at_once(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a hint: no heartbeat comes to its help, nor to that of its first runs, whichever engine takes them."""
    monkeypatch.setattr(leases, "HEARTBEAT", 10 * LONG)
    monkeypatch.setattr(leases, "EXPIRY", 20 * LONG)
    async with running(database_url, tmp_path, lost_after=2.0) as engines:
        await newcomer_is_served(engines)


async def newcomer_is_served(engines: Engines) -> None:
    token, tenant_id = await engines.new_tenant("newcomer")
    await eventually(lambda: owned_by_one(engines, tenant_id), timeout=LONG)
    for engine in engines.all:
        client = engines.client(engine, token=token)
        action = await client.put_task("job")
        worker = await engines.worker(client, action)
        (run_id,) = await client.start("job", "{}")
        await worker.receive(run_id)
        await worker.complete(run_id, 1)
        assert (await client.ended(run_id))[0] is COMPLETED
        await worker.vanish()


async def owned_by_one(engines: Engines, tenant_id: int) -> None:
    assert (await engines.owners())[tenant_id]
