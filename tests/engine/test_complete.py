"""Complete: the run ends with its output, the slot is free, whoever waits hears of it."""

import pytest

from tests.engine.harness import Engine, completed, started
from treadle.engine.commands import Completed
from treadle.model.states import EventKind, RunStatus


async def test_a_completed_run_has_its_output_and_leaves_nothing_behind(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    answered = await engine.report(worker, completed=completed(worker.keys, b'{"sum":3}'))
    assert answered.settled == [(task_id, 1)]
    assert answered.stale == []
    run = await engine.run(task_id)
    assert (run.status, run.attempt, run.worker_id) == (RunStatus.COMPLETED, 1, worker.worker_id)
    assert run.finished_at is not None
    assert run.finished_at.timestamp() == engine.clock.now()
    assert await engine.output(task_id) == b'{"sum":3}'
    assert [await engine.count(table) for table in ("attempt", "queue_item", "timer")] == [0, 0, 0]
    assert (await engine.events(task_id))[-1] == (EventKind.COMPLETED, 1)


@pytest.mark.parametrize("output", [None, b"null", b'"text"', b"[1, 2]", b'{"x": "\xc3\xa9"}', b"0" * 100_000])
async def test_outputs_are_stored_as_they_came(engine: Engine, output: bytes | None) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, slots=3)
    before, task_id, after = await engine.start(kind, 3)
    await engine.report(
        worker,
        completed=[
            Completed(before, 1, b"1", None),
            Completed(task_id, 1, output, None),
            Completed(after, 1, b"2", None),
        ],
    )
    assert [await engine.output(run) for run in (before, task_id, after)] == [b"1", output, b"2"]


async def test_the_audience_is_told_after_the_commit(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.report(worker, completed=completed(worker.keys, b"5"))
    [ended] = engine.audience.ended
    assert (ended.task_id, ended.status, ended.output, ended.error) == (task_id, RunStatus.COMPLETED, b"5", None)


async def test_followers_see_the_start_and_the_end(engine: Engine) -> None:
    kind = await engine.workflow(retries=2)
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    engine.audience.follows.add(task_id)
    await engine.report(worker, started=started(worker.keys, engine.clock.now()))
    await engine.report(worker, completed=completed(worker.keys, b'{"a":1}'))
    assert [(entry.kind, entry.payload, entry.retries) for entry in engine.audience.happened] == [
        (EventKind.STARTED, "", 2),
        (EventKind.COMPLETED, '{"a":1}', 2),
    ]


async def test_the_slot_goes_to_the_next_run_in_the_same_commit(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    first, second = await engine.start(kind, 2)
    assert worker.take() == [(first, 1)]
    future = engine.ask_report(worker, completed=completed([(first, 1)]))
    await engine.commit_once()
    assert (await future).settled == [(first, 1)]
    assert worker.take() == [(second, 1)]
    assert await engine.count("queue_item") == 0


async def test_one_frame_may_end_many_runs(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, slots=300)
    ids = await engine.start(kind, 300)
    answered = await engine.report(worker, completed=completed(worker.keys))
    assert answered.settled == [(task_id, 1) for task_id in ids]
    assert await engine.value("SELECT count(*) FROM treadle.task_result WHERE status = 3") == 300


async def test_a_start_is_remembered_and_never_outside_its_attempt(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, slots=3)
    early, late, right = await engine.start(kind, 3)
    assigned_at = engine.clock.now()
    await engine.pass_time(10)
    now = engine.clock.now()
    await engine.report(
        worker,
        completed=[
            Completed(early, 1, b"1", assigned_at - 100),
            Completed(late, 1, b"1", now + 100),
            Completed(right, 1, b"1", assigned_at + 4),
        ],
    )
    times = []
    for task_id in (early, late, right):
        run = await engine.run(task_id)
        assert run.started_at is not None
        times.append(run.started_at.timestamp())
    assert times == [assigned_at, now, assigned_at + 4]


async def test_a_start_that_must_be_kept_survives_the_engine(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, slots=2, says_when_stopped=False)
    kept, other = await engine.start(kind, 2)
    at = engine.clock.now()
    await engine.report(worker, started=started([(kept, 1)], at), keep_starts=True)
    await engine.report(worker, started=started([(other, 1)], at))
    await engine.report(worker, started=started([(kept, 1)], at + 3), keep_starts=True)
    await engine.restart()
    attempts = {a.task_id: a.started_at for a in engine.loop.memory.running.of_worker(worker.worker_id)}
    assert attempts == {kept: at, other: None}
    assert (await engine.events(kept)).count((EventKind.STARTED, 1)) == 1
