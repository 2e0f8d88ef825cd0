"""Lose and hand back: work goes elsewhere, the user's retries untouched."""

from tests.engine.fakes import FakeWorker
from tests.engine.harness import Engine, completed, failed
from treadle.engine.fail import MAX_REASSIGNED
from treadle.engine.ports import StopReason
from treadle.model.states import EventKind, RunStatus


async def test_the_work_of_a_lost_worker_runs_elsewhere_with_all_its_retries(engine: Engine) -> None:
    kind = await engine.workflow(retries=1)
    dead = await engine.worker(kind, slots=3)
    ids = await engine.start(kind, 3)
    alive = await engine.worker(kind, slots=5)
    await engine.lose(dead)
    assert sorted(alive.keys) == sorted((task_id, 2) for task_id in ids)
    assert {got.retries_used for got in alive.got} == {0}
    await engine.report(alive, failed=failed([(ids[0], 2)]))
    assert alive.keys[-1] == (ids[0], 3)
    assert alive.got[-1].retries_used == 1
    assert (EventKind.REASSIGNED, 1) in await engine.events(ids[0])


async def test_a_lost_worker_is_told_to_stop_what_it_had(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.lose(worker)
    assert worker.closed or worker.stops == [(task_id, 1, StopReason.SUPERSEDED)]


async def test_a_lost_worker_gets_nothing_more_on_its_old_stream(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, slots=2)
    await engine.lose(worker)
    await engine.start(kind)
    assert worker.keys == []


async def test_lost_work_goes_before_what_waits_already(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    first, second = await engine.start(kind, 2)
    await engine.lose(worker)
    other = await engine.worker(kind, slots=1)
    assert other.keys == [(first, 2)]
    await engine.report(other, completed=completed(other.keys))
    assert other.keys == [(first, 2), (second, 1)]


async def test_work_that_kills_its_workers_fails_in_the_end(engine: Engine) -> None:
    kind = await engine.workflow(retries=5)
    [task_id] = await engine.start(kind)
    for attempt in range(1, MAX_REASSIGNED + 2):
        worker = await engine.worker(kind)
        assert worker.keys == [(task_id, attempt)]
        await engine.lose(worker)
    run = await engine.run(task_id)
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert f"{MAX_REASSIGNED + 1} times" in run.error
    assert run.retries_used == 0


async def test_the_count_of_losses_survives_retries_and_restarts(engine: Engine) -> None:
    kind = await engine.workflow(retries=3, backoff_factor=10.0)
    [task_id] = await engine.start(kind)
    for _ in range(3):
        await engine.lose(await engine.worker(kind))
    worker = await engine.worker(kind)
    await engine.report(worker, failed=failed(worker.keys))
    await engine.restart()
    await engine.pass_time(10)
    worker = await engine.worker(kind)
    [attempt] = engine.loop.memory.running.of_worker(worker.worker_id)
    assert (attempt.task_id, attempt.attempt, attempt.reassigned, attempt.retries_used) == (task_id, 5, 3, 1)


async def test_handed_back_work_counts_neither_as_a_retry_nor_as_a_loss(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    for attempt in range(1, MAX_REASSIGNED + 5):
        answered = await engine.report(worker, handed_back=[(task_id, attempt)])
        assert answered.settled == [(task_id, attempt)]
    last = worker.got[-1]
    assert (last.attempt, last.retries_used) == (MAX_REASSIGNED + 5, 0)
    [current] = engine.loop.memory.running.of_worker(worker.worker_id)
    assert current.reassigned == 0
    assert (EventKind.HANDED_BACK, 1) in await engine.events(task_id)


async def test_an_attempt_that_kills_its_process_each_time_fails_in_the_end(engine: Engine) -> None:
    kind = await engine.workflow(retries=3)
    worker = await engine.worker(kind, slots=2)
    task_id, bystander = await engine.start(kind, 2)
    for attempt in range(1, MAX_REASSIGNED + 2):
        assert (task_id, attempt) in worker.take()
        answered = await engine.report(worker, lost=[(task_id, attempt)])
        assert answered.settled == [(task_id, attempt)]
    run = await engine.run(task_id)
    assert run.status is RunStatus.FAILED
    assert (run.retries_used, worker.got) == (0, [])
    assert [attempt.task_id for attempt in engine.loop.memory.running.of_worker(worker.worker_id)] == [bystander]
    assert (EventKind.REASSIGNED, 1) in await engine.events(task_id)


async def test_handing_back_an_attempt_that_is_over_is_settled_and_changes_nothing(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.report(worker, completed=completed(worker.keys))
    before = await engine.snapshot()
    assert (await engine.report(worker, handed_back=[(task_id, 1)])).settled == [(task_id, 1)]
    assert await engine.snapshot() == before


async def test_a_worker_that_comes_back_gets_what_it_does_not_have(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, slots=3)
    ids = await engine.start(kind, 3)
    await engine.disconnect(worker)
    again = await engine.worker(kind, slots=3, worker_id=worker.worker_id, in_hand={(ids[0], 1), (ids[2], 1)})
    assert again.keys == [(ids[1], 1)]
    assert again.got[0].input == b"{}"
    assert again.stops == []


async def test_a_worker_that_comes_back_is_told_what_is_not_its_own_any_more(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, slots=2)
    kept, cancelled = await engine.start(kind, 2)
    await engine.disconnect(worker)
    await engine.cancel(cancelled)
    again = await engine.worker(
        kind, slots=2, worker_id=worker.worker_id, in_hand={(kept, 1), (cancelled, 1), (kept, 9)}
    )
    assert again.keys == []
    assert sorted(again.stops) == sorted([(cancelled, 1, StopReason.SUPERSEDED), (kept, 9, StopReason.SUPERSEDED)])


async def test_a_worker_that_opens_two_streams_at_once_gets_its_work_once(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    await engine.start(kind)
    again = FakeWorker(worker.worker_id, worker.tenant_id, [kind], {"default": 1})
    engine.connect(again, in_hand=set())
    engine.connect(again, in_hand=set())
    await engine.settle()
    assert len(again.got) == 1
