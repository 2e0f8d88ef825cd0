"""Workers that go from one engine to another, and workers of the Hatchet contract: the engine that they have left no
longer speaks for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.bus.engines import LONG, Engines, pushed_results, running
from tests.bus.hatchet import HatchetWorker
from tests.chaos.raw import RawWorker
from tests.support.eventually import eventually
from treadle.model.states import RunStatus
from treadle.wire.gen.hatchet import dispatcher_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from treadle.server.engine import RunningEngine

COMPLETED = RunStatus.COMPLETED
LOST_AFTER = 1.5


@pytest.fixture
async def engines(database_url: str, tmp_path: Path) -> AsyncIterator[Engines]:
    async with running(database_url, tmp_path, lost_after=LOST_AFTER) as engines:
        yield engines


def unwatched(engine: RunningEngine, worker_id: str) -> None:
    assert engine.parts is not None
    assert engine.parts.liveness.last_seen(worker_id) is None


async def test_the_engine_that_was_left_does_not_give_a_worker_up(engines: Engines) -> None:
    """First at the other engine, then at the owner: the silence at the first one means nothing."""
    owner, other = await engines.apart()
    near, far = engines.client(owner), engines.client(other)
    worker = await engines.worker(far, await near.put_task("job"))
    (run_id,) = await near.start("job", "{}")
    await worker.receive(run_id)
    await worker.vanish()
    worker._client = near
    await worker.connect(in_hand=[(run_id, 1)])
    # The other engine gives up watching once it has said what it had to say.
    await eventually(lambda: unwatched(other, worker.worker_id), timeout=LONG)
    await worker.barrier()
    (second,) = await near.start("job", "{}")
    await worker.receive(second)
    for task_id in (run_id, second):
        await worker.complete(task_id, 1)
        assert (await far.ended(task_id))[0] is COMPLETED
    assert await engines.value("SELECT max(attempt) FROM treadle.task_result") == 1


async def test_an_old_stream_that_ends_late_does_not_end_the_new_one(engines: Engines) -> None:
    """A worker's second stream at the same engine is open before the end of the first is noticed."""
    owner, other = await engines.apart()
    near, far = engines.client(owner), engines.client(other)
    action = await near.put_task("job")
    old = await engines.worker(far, action)
    new = RawWorker(far, actions=[action])
    new.worker_id = old.worker_id
    async with new:
        assert old._reader is not None
        await asyncio.wait_for(asyncio.wait({old._reader}), LONG)
        await new.barrier()
        for _ in range(3):
            (run_id,) = await near.start("job", "{}")
            await new.receive(run_id)
            await new.complete(run_id, 1)
            assert (await near.ended(run_id))[0] is COMPLETED


async def test_a_stream_at_the_owner_survives_the_end_of_an_old_one_elsewhere(engines: Engines) -> None:
    owner, other = await engines.apart()
    near, far = engines.client(owner), engines.client(other)
    action = await near.put_task("job")
    old = await engines.worker(far, action)
    new = RawWorker(near, actions=[action])
    new.worker_id = old.worker_id
    async with new:
        await new.barrier()
        await old.vanish()
        await eventually(lambda: unwatched(other, new.worker_id), timeout=LONG)
        (run_id,) = await near.start("job", "{}")
        await new.receive(run_id)
        await new.complete(run_id, 1)
        assert (await far.ended(run_id))[0] is COMPLETED


# -- the Hatchet contract ----------------------------------------------------------------------------------------------


async def hatchet_worker(engines: Engines, registered_at: RunningEngine, action: str) -> HatchetWorker:
    worker = HatchetWorker(engines.client(registered_at), action)
    engines.at_end(worker.close)
    await worker.register()
    return worker


async def test_a_hatchet_worker_at_the_other_engine(engines: Engines) -> None:
    """Registered here, listening there, reporting at both."""
    owner, other = await engines.apart()
    near, far = engines.client(owner), engines.client(other)
    worker = await hatchet_worker(engines, owner, await near.put_task("job"))
    await worker.listen(far)
    for reporting_to in (near, far):
        (run_id,) = await near.start("job", '{"n": 1}')
        action = await worker.receive()
        assert action.task_run_external_id == run_id
        await worker.report(reporting_to, action, pb.STEP_EVENT_TYPE_STARTED)
        await worker.report(reporting_to, action, pb.STEP_EVENT_TYPE_COMPLETED, '{"done": true}')
        assert await far.ended(run_id) == (COMPLETED, b'{"done": true}')
    (run_id,) = await far.start("job", "{}")
    action = await worker.receive()
    await far.cancel(run_id)
    cancel = await worker.receive()
    assert (cancel.action_type, cancel.task_run_external_id) == (pb.CANCEL_STEP_RUN, run_id)


async def test_a_hatchet_workers_report_waits_for_the_next_owner(engines: Engines) -> None:
    """The official SDK gives some reports only one chance: they outlive the change of owners."""
    owner, heir = await engines.apart()
    far = engines.client(heir)
    worker = await hatchet_worker(engines, heir, await far.put_task("job"))
    await worker.listen(far)
    run_ids = await far.start("job", *["{}"] * 5)
    actions = [await worker.receive() for _ in run_ids]
    stopping = asyncio.create_task(owner.stop())
    reports = [
        asyncio.create_task(worker.report(far, action, pb.STEP_EVENT_TYPE_COMPLETED, '"kept"')) for action in actions
    ]
    await asyncio.gather(stopping, *reports)
    for run_id in run_ids:
        assert await far.ended(run_id) == (COMPLETED, b'"kept"')
    await worker.ended()
    await worker.listen(far)
    (run_id,) = await far.start("job", "{}")
    action = await worker.receive()
    await worker.report(far, action, pb.STEP_EVENT_TYPE_COMPLETED)
    assert (await far.ended(run_id))[0] is COMPLETED


async def test_results_are_still_awaited_after_a_link_broke(engines: Engines) -> None:
    """The owner is the same afterwards: it is asked again all the same."""
    owner, other = await engines.apart()
    near, far = engines.client(owner), engines.client(other)
    worker = await engines.worker(near, await near.put_task("job"))
    (run_id,) = await near.start("job", "{}")
    await worker.receive(run_id)
    waiting = asyncio.create_task(pushed_results(far, run_id))
    assert other.parts is not None
    router = other.parts.router

    def linked() -> None:
        assert router._links

    await eventually(linked, timeout=LONG)
    for link in list(router._links.values()):
        link.cancel()
    await worker.complete(run_id, 1)
    results = await asyncio.wait_for(waiting, LONG)
    assert [result.run_id for result in results] == [run_id]
