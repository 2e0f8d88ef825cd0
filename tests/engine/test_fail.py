"""Fail: another attempt at once, after a backoff or never."""

import pytest

from tests.engine.harness import Engine, completed, failed
from treadle.model.states import EventKind, RunStatus


async def test_without_retries_the_run_fails_with_the_error(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    answered = await engine.report(worker, failed=failed([(task_id, 1)], "ValueError: no\ntrace"))
    assert answered.settled == [(task_id, 1)]
    run = await engine.run(task_id)
    assert (run.status, run.error, run.attempt, run.retries_used) == (RunStatus.FAILED, "ValueError: no\ntrace", 1, 0)
    assert [await engine.count(table) for table in ("attempt", "queue_item", "timer")] == [0, 0, 0]


async def test_a_retry_without_backoff_is_delivered_in_the_same_commit(engine: Engine) -> None:
    kind = await engine.workflow(retries=2)
    worker = await engine.worker(kind)
    [task_id] = await engine.trigger(engine.task(kind, payload=b'{"a":1}'))
    for attempt in (1, 2):
        engine.ask_report(worker, failed=failed([(task_id, attempt)]))
        await engine.commit_once()
    assert [(got.task_id, got.attempt, got.retries_used, got.input) for got in worker.got] == [
        (task_id, 1, 0, b'{"a":1}'),
        (task_id, 2, 1, b'{"a":1}'),
        (task_id, 3, 2, b'{"a":1}'),
    ]
    await engine.report(worker, failed=failed([(task_id, 3)], "last"))
    run = await engine.run(task_id)
    assert (run.status, run.error, run.attempt, run.retries_used) == (RunStatus.FAILED, "last", 3, 2)
    kinds = [kind for kind, _ in await engine.events(task_id)]
    assert kinds.count(EventKind.RETRYING) == 2
    assert kinds.count(EventKind.FAILED) == 1


async def test_a_retry_that_succeeds_ends_the_run_well(engine: Engine) -> None:
    kind = await engine.workflow(retries=1)
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.report(worker, failed=failed([(task_id, 1)]))
    await engine.report(worker, completed=completed([(task_id, 2)], b"1"))
    run = await engine.run(task_id)
    assert (run.status, run.attempt, run.retries_used, run.error) == (RunStatus.COMPLETED, 2, 1, None)


async def test_backoff_grows_by_its_factor_up_to_its_cap(engine: Engine) -> None:
    kind = await engine.workflow(retries=5, backoff_factor=3.0, backoff_max_seconds=20, schedule_timeout_ms=10_000_000)
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    assert worker.take() == [(task_id, 1)]
    for attempt, wait in ((1, 3), (2, 9), (3, 20), (4, 20)):
        await engine.report(worker, failed=failed([(task_id, attempt)]))
        assert (await engine.run(task_id)).status is RunStatus.QUEUED
        assert (await engine.run(task_id)).attempt == attempt + 1
        [timer] = await engine.fetch("SELECT due_at FROM treadle.timer")
        assert timer["due_at"].timestamp() == engine.clock.now() + wait
        await engine.pass_time(wait - 0.001)
        assert worker.take() == []
        await engine.pass_time(0.001)
        assert worker.take() == [(task_id, attempt + 1)]
        assert await engine.count("timer") == 0


async def test_the_slot_is_free_while_a_run_backs_off(engine: Engine) -> None:
    kind = await engine.workflow(retries=1, backoff_factor=60.0)
    worker = await engine.worker(kind)
    first, second = await engine.start(kind, 2)
    await engine.report(worker, failed=failed([(first, 1)]))
    assert worker.keys == [(first, 1), (second, 1)]


async def test_a_retry_after_replaces_the_backoff(engine: Engine) -> None:
    kind = await engine.workflow(retries=3, backoff_factor=2.0)
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.report(worker, failed=failed([(task_id, 1)], retry_after=100.0))
    await engine.pass_time(99)
    assert worker.keys == [(task_id, 1)]
    await engine.pass_time(1)
    assert worker.keys == [(task_id, 1), (task_id, 2)]


@pytest.mark.parametrize("retry_after", [0.0, -5.0])
async def test_a_retry_after_of_nothing_is_at_once(engine: Engine, retry_after: float) -> None:
    kind = await engine.workflow(retries=1, backoff_factor=50.0)
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.report(worker, failed=failed([(task_id, 1)], retry_after=retry_after))
    assert worker.keys == [(task_id, 1), (task_id, 2)]


async def test_a_retry_after_does_not_grant_a_retry(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.report(worker, failed=failed([(task_id, 1)], retry_after=1.0))
    assert await engine.status(task_id) is RunStatus.FAILED


async def test_should_not_retry_ends_the_run_whatever_is_left(engine: Engine) -> None:
    kind = await engine.workflow(retries=9, backoff_factor=2.0)
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.report(worker, failed=failed([(task_id, 1)], should_not_retry=True, retry_after=3.0))
    assert (await engine.run(task_id)).status is RunStatus.FAILED
    assert await engine.count("timer") == 0


async def test_waiting_retries_survive_a_restart(engine: Engine) -> None:
    kind = await engine.workflow(retries=2, backoff_factor=30.0)
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.report(worker, failed=failed([(task_id, 1)]))
    await engine.restart()
    again = await engine.worker(kind)
    await engine.pass_time(29)
    assert again.keys == []
    await engine.pass_time(1)
    assert [(got.task_id, got.attempt, got.retries_used, got.input) for got in again.got] == [(task_id, 2, 1, b"{}")]


async def test_a_thousand_backoffs_pass_at_once_in_the_order_they_fell_due(engine: Engine) -> None:
    kind = await engine.workflow(retries=1)
    worker = await engine.worker(kind, slots=2500)
    ids = await engine.start(kind, 2500)
    await engine.report(
        worker, failed=[entry for n, i in enumerate(ids) for entry in failed([(i, 1)], retry_after=1.0 + n / 1000)]
    )
    worker.take()
    await engine.pass_time(10)
    assert worker.take() == [(task_id, 2) for task_id in ids]
