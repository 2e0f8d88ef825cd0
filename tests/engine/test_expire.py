"""Expire: schedule timeouts cancel, execution timeouts fail, and both know which clock they run by."""

from tests.engine.harness import Engine, completed, failed
from treadle.engine.ports import StopReason
from treadle.model.states import EventKind, RunStatus


async def test_a_run_that_nobody_takes_is_cancelled_at_its_schedule_timeout(engine: Engine) -> None:
    kind = await engine.workflow(schedule_timeout_ms=90_000)
    [task_id] = await engine.start(kind)
    await engine.pass_time(89.999)
    assert await engine.status(task_id) is RunStatus.QUEUED
    await engine.pass_time(0.001)
    run = await engine.run(task_id)
    assert (run.status, run.error) == (
        RunStatus.CANCELLED,
        "Task was not started within its schedule timeout of 1m30s",
    )
    assert await engine.count("queue_item") == 0
    assert await engine.events(task_id) == [
        (EventKind.CREATED, 1),
        (EventKind.SCHEDULING_TIMED_OUT, 1),
        (EventKind.CANCELLED, 1),
    ]
    assert [entry.task_id for entry in engine.audience.ended] == [task_id]


async def test_an_expired_run_is_given_to_nobody(engine: Engine) -> None:
    kind = await engine.workflow(schedule_timeout_ms=1000)
    await engine.start(kind, 3)
    await engine.pass_time(1)
    [fresh] = await engine.start(kind)
    worker = await engine.worker(kind, slots=9)
    assert worker.keys == [(fresh, 1)]


async def test_a_worker_that_comes_at_the_last_moment_is_too_late(engine: Engine) -> None:
    kind = await engine.workflow(schedule_timeout_ms=1000)
    [task_id] = await engine.start(kind)
    engine.clock.advance(1)
    worker = await engine.worker(kind)
    assert worker.keys == []
    assert await engine.status(task_id) is RunStatus.CANCELLED


async def test_thousands_expire_together_and_a_restart_forgets_none(engine: Engine) -> None:
    kind = await engine.workflow(schedule_timeout_ms=5000)
    for _ in range(5):
        await engine.start(kind, 1000)
    await engine.restart()
    await engine.pass_time(5)
    assert await engine.count("queue_item") == 0
    assert await engine.value("SELECT count(*) FROM treadle.task_result WHERE status = 5") == 5000


async def test_a_retry_has_a_schedule_timeout_of_its_own(engine: Engine) -> None:
    kind = await engine.workflow(retries=1, schedule_timeout_ms=10_000, timeout_ms=1_000_000)
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.pass_time(60)
    await engine.disconnect(worker)
    await engine.report(worker, failed=failed([(task_id, 1)]))
    await engine.pass_time(9.9)
    assert await engine.status(task_id) is RunStatus.QUEUED
    await engine.pass_time(0.1)
    run = await engine.run(task_id)
    assert (run.status, run.attempt, run.retries_used) == (RunStatus.CANCELLED, 2, 1)


async def test_an_attempt_past_its_execution_timeout_fails_and_is_stopped(engine: Engine) -> None:
    kind = await engine.workflow(timeout_ms=2500)
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.pass_time(2.4)
    assert await engine.status(task_id) is RunStatus.RUNNING
    await engine.pass_time(0.1)
    run = await engine.run(task_id)
    assert run.status is RunStatus.FAILED
    assert run.error == "Task exceeded timeout of 2s500ms"
    assert worker.stops == [(task_id, 1, StopReason.TIMED_OUT)]
    assert (EventKind.TIMED_OUT, 1) in await engine.events(task_id)


async def test_an_execution_timeout_counts_as_a_failure_and_is_retried(engine: Engine) -> None:
    kind = await engine.workflow(timeout_ms=1000, retries=1)
    worker = await engine.worker(kind, slots=2)
    [task_id] = await engine.start(kind)
    await engine.pass_time(1)
    assert worker.keys == [(task_id, 1), (task_id, 2)]
    await engine.pass_time(1)
    run = await engine.run(task_id)
    assert (run.status, run.attempt, run.retries_used) == (RunStatus.FAILED, 2, 1)


async def test_the_slot_of_a_timed_out_attempt_is_taken_until_its_code_has_ended(engine: Engine) -> None:
    kind = await engine.workflow(timeout_ms=1000, retries=1)
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.pass_time(1)
    assert worker.take() == [(task_id, 1)]
    await engine.report(worker, stopped=[(task_id, 1)])
    assert worker.take() == [(task_id, 2)]


async def test_what_a_timed_out_attempt_reports_is_stale(engine: Engine) -> None:
    kind = await engine.workflow(timeout_ms=1000)
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.pass_time(1)
    answered = await engine.report(worker, completed=completed([(task_id, 1)]))
    assert answered.settled == [(task_id, 1)]
    assert [(entry.task_id, entry.attempt) for entry in answered.stale] == [(task_id, 1)]
    assert await engine.status(task_id) is RunStatus.FAILED


async def test_a_result_in_the_same_commit_as_the_deadline_counts(engine: Engine) -> None:
    kind = await engine.workflow(timeout_ms=1000)
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    engine.clock.advance(5)
    await engine.report(worker, completed=completed([(task_id, 1)], b"1"))
    assert await engine.status(task_id) is RunStatus.COMPLETED
    assert worker.stops == []


async def test_deadlines_survive_a_restart(engine: Engine) -> None:
    kind = await engine.workflow(timeout_ms=10_000)
    await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.restart()
    await engine.pass_time(9.9)
    assert await engine.status(task_id) is RunStatus.RUNNING
    await engine.pass_time(0.1)
    assert await engine.status(task_id) is RunStatus.FAILED


async def test_time_in_the_queue_does_not_shorten_the_run(engine: Engine) -> None:
    kind = await engine.workflow(timeout_ms=10_000)
    [task_id] = await engine.start(kind)
    await engine.pass_time(200)
    worker = await engine.worker(kind)
    await engine.pass_time(9.9)
    await engine.report(worker, completed=completed([(task_id, 1)]))
    assert await engine.status(task_id) is RunStatus.COMPLETED
