"""Refresh and release: what a running attempt may change about itself."""

import pytest

from tests.engine.harness import OTHER_TENANT, Engine, completed
from treadle.model.errors import NotFound
from treadle.model.states import EventKind, RunStatus


async def test_a_refreshed_deadline_moves_by_the_increment(engine: Engine) -> None:
    kind = await engine.workflow(timeout_ms=10_000)
    await engine.worker(kind)
    [task_id] = await engine.start(kind)
    begun = engine.clock.now()
    await engine.pass_time(8)
    assert await engine.refresh(task_id, 30) == begun + 40
    await engine.pass_time(31.9)
    assert await engine.status(task_id) is RunStatus.RUNNING
    await engine.pass_time(0.1)
    assert await engine.status(task_id) is RunStatus.FAILED
    assert (EventKind.TIMEOUT_REFRESHED, 1) in await engine.events(task_id)


async def test_increments_add_up_and_survive_a_restart(engine: Engine) -> None:
    kind = await engine.workflow(timeout_ms=1000)
    await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.refresh(task_id, 5)
    await engine.refresh(task_id, 7)
    await engine.restart()
    await engine.pass_time(12.9)
    assert await engine.status(task_id) is RunStatus.RUNNING
    await engine.pass_time(0.1)
    run = await engine.run(task_id)
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert "13s" in run.error


async def test_a_released_slot_takes_new_work_while_the_attempt_goes_on(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    first, second, third = await engine.start(kind, 3)
    await engine.release(first)
    assert worker.keys == [(first, 1), (second, 1)]
    await engine.release(first)
    assert worker.keys == [(first, 1), (second, 1)]
    await engine.report(worker, completed=completed([(first, 1)]))
    assert worker.keys == [(first, 1), (second, 1)]
    assert await engine.status(first) is RunStatus.COMPLETED
    await engine.report(worker, completed=completed([(second, 1)]))
    assert worker.keys[-1] == (third, 1)
    assert (await engine.events(first)).count((EventKind.SLOT_RELEASED, 1)) == 1


async def test_a_released_slot_stays_released_over_a_restart_and_a_reconnect(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    [first] = await engine.start(kind)
    await engine.release(first)
    await engine.restart()
    again = await engine.worker(kind, worker_id=worker.worker_id, in_hand={(first, 1)})
    [second] = await engine.start(kind)
    assert again.keys == [(second, 1)]


async def test_a_cancelled_attempt_without_a_slot_frees_none(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    first, second, third = await engine.start(kind, 3)
    await engine.release(first)
    await engine.cancel(first)
    await engine.report(worker, stopped=[(first, 1)])
    assert worker.keys == [(first, 1), (second, 1)]
    assert await engine.status(third) is RunStatus.QUEUED


async def test_only_a_running_task_of_the_tenant_can_ask(engine: Engine) -> None:
    kind = await engine.workflow()
    queued, _ = await engine.start(kind, 2)
    foreign = await engine.workflow(tenant_id=OTHER_TENANT)
    await engine.worker(foreign, tenant_id=OTHER_TENANT)
    [elsewhere] = await engine.start(foreign)
    before = await engine.snapshot()
    for task_id in (queued, elsewhere):
        with pytest.raises(NotFound):
            await engine.refresh(task_id, 10)
        with pytest.raises(NotFound):
            await engine.release(task_id)
    assert await engine.snapshot() == before
