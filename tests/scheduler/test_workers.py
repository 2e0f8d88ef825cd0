"""Workers as the loop's memory sees them: streams open, rest, resume, close."""

import pytest

from tests.engine.fakes import FakeWorker
from tests.engine.harness import TENANT, Engine, completed, started
from treadle.engine.commands import Redeliver, WorkerChanged
from treadle.engine.ports import StopReason
from treadle.model.ids import id_at


async def change(engine: Engine, worker: FakeWorker, *, available: bool, pulse: bool = False) -> None:
    engine.inbox.put_control(WorkerChanged(TENANT, worker.worker_id, None, available=available, pulse=pulse))
    await engine.settle()


async def reload_memory(engine: Engine) -> None:
    """A commit that fails."""
    [kind] = engine.catalog._current.values()
    engine.ask_trigger([engine.task(kind, parent_id=id_at(engine.clock.now() + 4e7), child_key="x")])
    await engine.settle()


async def test_a_paused_worker_gets_nothing_and_goes_on_with_what_it_has(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, slots=2)
    first, second = [*(await engine.start(kind)), *(await pause_and_start(engine, worker))]
    assert worker.keys == [(first, 1)]
    await engine.report(worker, completed=completed([(first, 1)]))
    await change(engine, worker, available=True)
    assert worker.keys == [(first, 1), (second, 1)]


async def pause_and_start(engine: Engine, worker: FakeWorker) -> list[str]:
    await change(engine, worker, available=False)
    [kind] = engine.catalog._current.values()
    return await engine.start(kind)


@pytest.mark.parametrize("reload", [False, True], ids=["", "with a reload"])
async def test_a_sign_of_life_does_not_end_a_pause(engine: Engine, reload: bool) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    await change(engine, worker, available=False)
    await change(engine, worker, available=False, pulse=True)
    if reload:
        await reload_memory(engine)
    await change(engine, worker, available=True, pulse=True)
    await engine.start(kind)
    assert worker.keys == []
    await change(engine, worker, available=True)
    assert len(worker.keys) == 1


async def test_the_end_of_a_pause_does_not_wake_a_silent_worker(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    await change(engine, worker, available=False, pulse=True)
    await change(engine, worker, available=True)
    await engine.start(kind)
    assert worker.keys == []
    await change(engine, worker, available=True, pulse=True)
    assert len(worker.keys) == 1


async def test_a_worker_that_joins_paused_rests(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = FakeWorker("01890000-0000-7000-8000-000000000001", 1, [kind], {"default": 1})
    engine.connect(worker, in_hand=set(), paused=True)
    await engine.start(kind)
    assert worker.keys == []
    engine.connect(worker, in_hand=set())
    await engine.settle()
    assert len(worker.keys) == 1


async def test_the_close_of_an_old_stream_leaves_the_new_one_alone(engine: Engine) -> None:
    kind = await engine.workflow()
    old = await engine.worker(kind)
    new = await engine.worker(kind, worker_id=old.worker_id)
    await engine.disconnect(old)
    [task_id] = await engine.start(kind)
    assert (old.keys, new.keys) == ([], [(task_id, 1)])


async def test_a_worker_without_a_stream_keeps_its_attempts(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.disconnect(worker)
    assert (await engine.report(worker, completed=completed([(task_id, 1)]))).stale == []
    assert worker.stops == []


async def test_a_stop_for_a_worker_without_a_stream_reaches_it_when_it_is_back(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.disconnect(worker)
    await engine.cancel(task_id)
    assert worker.stops == []
    again = await engine.worker(kind, worker_id=worker.worker_id, in_hand={(task_id, 1)})
    assert again.stops == [(task_id, 1, StopReason.SUPERSEDED)]


async def test_the_stream_of_a_lost_worker_is_closed(engine: Engine) -> None:
    worker = await engine.worker()
    await engine.lose(worker)
    assert worker.closed


async def test_what_never_began_is_sent_again_once_where_the_worker_cannot_say(engine: Engine) -> None:
    kind = await engine.workflow(timeout_ms=100_000)
    worker = await engine.worker(kind, slots=3, says_when_stopped=False)
    begun, unbegun, ended = await engine.start(kind, 3)
    await engine.disconnect(worker)
    again = await engine.worker(kind, slots=4, worker_id=worker.worker_id, says_when_stopped=False)
    opened_at = engine.clock.now()
    await engine.pass_time(12)
    [later] = await engine.start(kind)
    assert again.take() == [(later, 1)]
    await engine.report(again, started=started([(begun, 1)], engine.clock.now()))
    engine.inbox.put_control(Redeliver(TENANT, worker.worker_id, again, opened_at))
    engine.inbox.put_control(Redeliver(TENANT, worker.worker_id, worker, opened_at))
    engine.ask_report(again, completed=completed([(ended, 1)]))
    await engine.settle()
    assert again.keys == [(unbegun, 1)]
    assert again.got[0].input == b"{}"
