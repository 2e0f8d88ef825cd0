"""Cancel: wherever a run is, it ends, once, and its worker is told."""

from tests.engine.harness import OTHER_TENANT, Engine, completed, failed
from treadle.engine.ports import StopReason
from treadle.model.ids import new_id
from treadle.model.states import EventKind, RunStatus


async def test_a_queued_run_is_taken_out_of_its_queue(engine: Engine) -> None:
    kind = await engine.workflow()
    first, second, third = await engine.start(kind, 3)
    assert await engine.cancel(second) == [second]
    run = await engine.run(second)
    assert (run.status, run.error, run.worker_id) == (RunStatus.CANCELLED, "", None)
    worker = await engine.worker(kind, slots=5)
    assert worker.keys == [(first, 1), (third, 1)]
    assert await engine.events(second) == [(EventKind.CREATED, 1), (EventKind.CANCELLED, 1)]


async def test_a_running_run_ends_at_once_and_its_worker_is_told(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    assert await engine.cancel(task_id) == [task_id]
    assert worker.stops == [(task_id, 1, StopReason.CANCELLED)]
    assert await engine.status(task_id) is RunStatus.CANCELLED
    assert await engine.count("attempt") == 0


async def test_the_slot_stays_taken_until_the_worker_says_stopped(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    first, second = await engine.start(kind, 2)
    await engine.cancel(first)
    assert worker.take() == [(first, 1)]
    await engine.report(worker, stopped=[(first, 1)])
    assert worker.take() == [(second, 1)]
    await engine.report(worker, stopped=[(first, 1)])
    await engine.start(kind)
    assert worker.take() == []


async def test_the_slot_is_free_at_once_where_the_worker_cannot_say(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, says_when_stopped=False)
    first, second = await engine.start(kind, 2)
    await engine.cancel(first)
    assert worker.keys == [(first, 1), (second, 1)]


async def test_nobody_else_can_say_stopped_for_a_worker(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    [first] = await engine.start(kind)
    other = await engine.worker(slots=1)
    stranger = await engine.worker(tenant_id=OTHER_TENANT)
    await engine.cancel(first)
    await engine.report(other, stopped=[(first, 1)])
    await engine.report(stranger, stopped=[(first, 1)])
    await engine.start(kind)
    assert worker.keys == [(first, 1)]


async def test_a_run_that_backs_off_is_cancelled_for_good(engine: Engine) -> None:
    kind = await engine.workflow(retries=3, backoff_factor=10.0)
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.report(worker, failed=failed([(task_id, 1)]))
    assert await engine.cancel(task_id) == [task_id]
    assert await engine.count("timer") == 0
    await engine.pass_time(3600)
    assert worker.keys == [(task_id, 1)]
    run = await engine.run(task_id)
    assert (run.status, run.attempt, run.retries_used) == (RunStatus.CANCELLED, 2, 1)


async def test_ended_unknown_and_foreign_runs_are_left_alone(engine: Engine) -> None:
    kind = await engine.workflow()
    foreign = await engine.workflow(tenant_id=OTHER_TENANT)
    worker = await engine.worker(kind, slots=2)
    done, _ = await engine.start(kind, 2)
    await engine.report(worker, completed=completed([(done, 1)]))
    [queued_elsewhere] = await engine.start(foreign)
    stranger = await engine.worker(foreign, tenant_id=OTHER_TENANT)
    assert stranger.keys == [(queued_elsewhere, 1)]
    [other] = await engine.start(foreign)
    before = await engine.snapshot()
    assert await engine.cancel(done, queued_elsewhere, other, new_id()) == []
    assert await engine.snapshot() == before
    assert stranger.stops == []


async def test_a_run_named_twice_is_cancelled_once(engine: Engine) -> None:
    kind = await engine.workflow()
    queued, other = await engine.start(kind, 2)
    assert await engine.cancel(queued, queued, other) == [queued, other]
    assert await engine.count("task_result") == 2


async def test_what_a_cancelled_attempt_reports_is_stale(engine: Engine) -> None:
    kind = await engine.workflow(retries=5)
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.cancel(task_id)
    for parts in ({"completed": completed([(task_id, 1)])}, {"failed": failed([(task_id, 1)])}):
        answered = await engine.report(worker, **parts)
        assert answered.settled == [(task_id, 1)]
        assert [entry.reason for entry in answered.stale] == [StopReason.SUPERSEDED]
    assert await engine.status(task_id) is RunStatus.CANCELLED


async def test_a_backlog_beyond_the_window_can_be_cancelled(engine: Engine) -> None:
    kind = await engine.workflow()
    ids = [task_id for _ in range(6) for task_id in await engine.start(kind, 1000)]
    await engine.restart()
    assert sorted(await engine.cancel(*ids[:2], *ids[-2:])) == sorted([*ids[:2], *ids[-2:]])
    worker = await engine.worker(kind, slots=7000)
    assert worker.keys == [(task_id, 1) for task_id in ids[2:-2]]
