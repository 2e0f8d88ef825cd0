"""Replay: an ended run runs again under its own id, fresh in everything but its number."""

import pytest

from tests.engine.harness import OTHER_TENANT, Engine, completed, failed
from treadle.model.ids import new_id
from treadle.model.states import EventKind, RunStatus


async def test_a_failed_run_runs_again_with_its_input_and_all_its_retries(engine: Engine) -> None:
    kind = await engine.workflow(retries=1)
    worker = await engine.worker(kind)
    [task_id] = await engine.trigger(engine.task(kind, payload=b'{"n":1}', priority=3))
    for attempt in (1, 2):
        await engine.report(worker, failed=failed([(task_id, attempt)]))
    assert await engine.status(task_id) is RunStatus.FAILED
    assert await engine.replay(task_id) == [task_id]
    last = worker.got[-1]
    assert (last.task_id, last.attempt, last.retries_used, last.input, last.priority) == (
        task_id,
        3,
        0,
        b'{"n":1}',
        3,
    )
    assert await engine.status(task_id) is RunStatus.RUNNING
    await engine.report(worker, failed=failed([(task_id, 3)]))
    await engine.report(worker, completed=completed([(task_id, 4)], b"8"))
    run = await engine.run(task_id)
    assert (run.status, run.attempt, run.retries_used) == (RunStatus.COMPLETED, 4, 1)
    assert await engine.output(task_id) == b"8"
    assert (EventKind.REPLAYED, 3) in await engine.events(task_id)


async def test_a_completed_run_is_a_run_without_a_result_until_it_ends_again(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.report(worker, completed=completed([(task_id, 1)]))
    await engine.disconnect(worker)
    await engine.replay(task_id)
    run = await engine.run(task_id)
    assert (run.status, run.attempt, run.finished_at) == (RunStatus.QUEUED, 2, None)


async def test_a_cancelled_run_can_be_replayed_and_cancelled_again(engine: Engine) -> None:
    kind = await engine.workflow()
    [task_id] = await engine.start(kind)
    for attempt in (1, 2, 3):
        assert (await engine.run(task_id)).attempt == attempt
        assert await engine.cancel(task_id) == [task_id]
        assert await engine.replay(task_id) == [task_id]
    worker = await engine.worker(kind, slots=9)
    assert worker.keys == [(task_id, 4)]


async def test_a_report_from_before_the_replay_changes_nothing(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.cancel(task_id)
    await engine.report(worker, stopped=[(task_id, 1)])
    await engine.replay(task_id)
    answered = await engine.report(worker, completed=completed([(task_id, 1)]))
    assert answered.settled == [(task_id, 1)]
    assert len(answered.stale) == 1
    assert await engine.status(task_id) is RunStatus.RUNNING


@pytest.mark.parametrize("where", ["queued", "running", "backing off"])
async def test_a_run_that_has_not_ended_is_left_alone(engine: Engine, where: str) -> None:
    kind = await engine.workflow(retries=1, backoff_factor=100.0)
    if where == "queued":
        [task_id] = await engine.start(kind)
    else:
        worker = await engine.worker(kind)
        [task_id] = await engine.start(kind)
        if where == "backing off":
            await engine.report(worker, failed=failed([(task_id, 1)]))
    before = await engine.snapshot()
    assert await engine.replay(task_id) == []
    assert await engine.snapshot() == before


async def test_unknown_and_foreign_runs_are_left_alone(engine: Engine) -> None:
    kind = await engine.workflow(tenant_id=OTHER_TENANT)
    [task_id] = await engine.start(kind)
    await engine.cancel(task_id, tenant_id=OTHER_TENANT)
    before = await engine.snapshot()
    assert await engine.replay(task_id, new_id()) == []
    assert await engine.snapshot() == before


async def test_a_run_named_twice_is_replayed_once(engine: Engine) -> None:
    kind = await engine.workflow()
    [task_id] = await engine.start(kind)
    await engine.cancel(task_id)
    assert await engine.replay(task_id, task_id) == [task_id]
    assert await engine.count("queue_item") == 1


async def test_a_large_input_comes_back_for_the_replay(engine: Engine) -> None:
    kind = await engine.workflow()
    payload = b'{"x":"' + b"y" * 50_000 + b'"}'
    worker = await engine.worker(kind)
    [task_id] = await engine.trigger(engine.task(kind, payload=payload))
    await engine.report(worker, failed=failed([(task_id, 1)]))
    await engine.replay(task_id)
    assert worker.got[-1].input == payload
