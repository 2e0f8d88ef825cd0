"""Reports about attempts that are not current: settled, answered with "stop", and without any effect."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.engine.fakes import FakeWorker
from tests.engine.harness import OTHER_TENANT, Answered, Engine, completed, failed, logged, started
from treadle.engine.commands import AttemptKey
from treadle.engine.ports import StopReason
from treadle.model.ids import new_id

REPORTS: dict[str, Callable[[list[AttemptKey]], dict[str, Any]]] = {
    "started": lambda keys: {"started": started(keys, 0.0), "keep_starts": True},
    "completed": lambda keys: {"completed": completed(keys)},
    "failed": lambda keys: {"failed": failed(keys)},
    "failed for good": lambda keys: {"failed": failed(keys, should_not_retry=True)},
    "handed back": lambda keys: {"handed_back": keys},
    "lost": lambda keys: {"lost": keys},
    "running": lambda keys: {"running": keys},
    "stopped": lambda keys: {"stopped": keys},
    "logged": lambda keys: {"logs": logged(keys)},
}


async def check_changes_nothing(engine: Engine, worker: FakeWorker, keys: list[AttemptKey]) -> None:
    before = await engine.snapshot()
    for name, parts in REPORTS.items():
        answered: Answered = await engine.report(worker, **parts(keys))
        assert await engine.snapshot() == before, name
        if name in ("completed", "failed", "failed for good", "handed back", "lost"):
            assert answered.settled == keys, name
        if name in ("started", "completed", "failed", "failed for good", "running"):
            assert [(entry.task_id, entry.attempt) for entry in answered.stale] == keys, name
            assert {entry.reason for entry in answered.stale} == {StopReason.SUPERSEDED}, name


async def test_superseded_by_a_retry(engine: Engine) -> None:
    kind = await engine.workflow(retries=3)
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.report(worker, failed=failed([(task_id, 1)]))
    await check_changes_nothing(engine, worker, [(task_id, 1)])
    assert worker.keys == [(task_id, 1), (task_id, 2)]


async def test_superseded_by_a_loss(engine: Engine) -> None:
    kind = await engine.workflow(retries=3)
    lost = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.lose(lost)
    other = await engine.worker(kind)
    await check_changes_nothing(engine, lost, [(task_id, 1)])
    assert other.keys == [(task_id, 2)]


async def test_of_the_future_of_nobody_or_of_an_ended_run(engine: Engine) -> None:
    kind = await engine.workflow(retries=3)
    worker = await engine.worker(kind, slots=3)
    ended, running = await engine.start(kind, 2)
    await engine.report(worker, completed=completed([(ended, 1)]))
    await check_changes_nothing(engine, worker, [(ended, 1), (running, 2), (running, -1), (new_id(), 1)])


async def test_of_another_worker_and_of_another_tenant(engine: Engine) -> None:
    kind = await engine.workflow(retries=3)
    await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await check_changes_nothing(engine, await engine.worker(), [(task_id, 1)])
    await check_changes_nothing(engine, await engine.worker(tenant_id=OTHER_TENANT), [(task_id, 1)])


async def test_of_a_queued_run(engine: Engine) -> None:
    kind = await engine.workflow()
    [task_id] = await engine.start(kind)
    worker = await engine.worker()
    await check_changes_nothing(engine, worker, [(task_id, 1), (task_id, 0)])


async def test_stale_reports_leave_good_ones_of_the_same_frame_alone(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, slots=3)
    one, two, three = await engine.start(kind, 3)
    answered = await engine.report(
        worker, completed=completed([(one, 1), (two, 7), (three, 1), (one, 1)]), failed=failed([(three, 1)])
    )
    assert answered.settled == [(one, 1), (two, 7), (three, 1), (one, 1), (three, 1)]
    assert [(entry.task_id, entry.attempt) for entry in answered.stale] == [(two, 7), (one, 1), (three, 1)]
    assert await engine.value("SELECT count(*) FROM treadle.task_result WHERE status = 3") == 2


@pytest.mark.parametrize("order", ["completed first", "failed first"])
async def test_of_two_reports_in_one_commit_the_first_counts(engine: Engine, order: str) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    parts: list[dict[str, Any]] = [{"completed": completed([(task_id, 1)])}, {"failed": failed([(task_id, 1)])}]
    if order == "failed first":
        parts.reverse()
    answers = [engine.ask_report(worker, **part) for part in parts]
    await engine.commit_once()
    first, second = await asyncio.gather(*answers)
    assert first.stale == []
    assert len(second.stale) == 1
    assert (await engine.run(task_id)).status.name == ("COMPLETED" if order == "completed first" else "FAILED")


async def test_an_unnumbered_report_means_the_current_attempt(engine: Engine) -> None:
    kind = await engine.workflow(retries=1)
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.report(worker, failed=failed([(task_id, 0)]))
    await engine.report(None, completed=completed([(task_id, 0)]))
    run = await engine.run(task_id)
    assert (run.status.name, run.attempt) == ("COMPLETED", 2)
