"""Report: what a worker says of its attempts, sorted into moves. Only the current attempt of a task can be moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.commands import Report, Stale
from treadle.engine.complete import complete
from treadle.engine.fail import fail, lose
from treadle.engine.ports import StopReason
from treadle.engine.start import start

if TYPE_CHECKING:
    from treadle.engine.attempt import Attempt
    from treadle.engine.batch import Batch
    from treadle.engine.commands import AttemptKey
    from treadle.engine.running import Running


def apply(report: Report, running: Running, batch: Batch) -> None:
    """Carry out a report. Whatever in it speaks of a superseded, ended or foreign attempt changes nothing."""
    tenant_id = report.tenant_id
    worker_id = report.worker_id

    def current(task_id: str, number: int) -> Attempt | None:
        attempt = running.current(tenant_id, task_id, number)
        return attempt if attempt is None or worker_id in ("", attempt.worker_id) else None

    settled: list[AttemptKey] = []
    stale: list[Stale] = []
    # Lines of an attempt that is not current are dropped: its code should have stopped.
    batch.logs.extend(
        (tenant_id, line) for line in report.logs if report.late_logs or current(line.task_id, line.attempt) is not None
    )
    for started in report.started:
        attempt = current(started.task_id, started.attempt)
        if attempt is None:
            stale.append(Stale(started.task_id, started.attempt, StopReason.SUPERSEDED))
        else:
            start(attempt, started.started_at, batch, keep=report.keep_starts)
    for done in report.completed:
        attempt = current(done.task_id, done.attempt)
        settled.append((done.task_id, done.attempt))
        if attempt is None:
            stale.append(Stale(done.task_id, done.attempt, StopReason.SUPERSEDED))
        else:
            complete(attempt, done.output, done.started_at, running, batch)
    for failed in report.failed:
        attempt = current(failed.task_id, failed.attempt)
        settled.append((failed.task_id, failed.attempt))
        if attempt is None:
            stale.append(Stale(failed.task_id, failed.attempt, StopReason.SUPERSEDED))
            continue
        if attempt.started_at is None and failed.started_at is not None:
            attempt.started_at = min(max(failed.started_at, attempt.assigned_at), batch.now)
        fail(
            attempt,
            failed.error,
            running,
            batch,
            should_not_retry=failed.should_not_retry,
            retry_after=failed.retry_after,
        )
    for task_id, number in report.handed_back:
        attempt = current(task_id, number)
        settled.append((task_id, number))
        if attempt is not None:
            lose(attempt, running, batch, handed_back=True)
    for task_id, number in report.stopped:
        attempt = running.settle_stopped(worker_id, task_id, number)
        if attempt is not None:
            batch.freed.append((attempt.worker_id, attempt.kind.slots))
    batch.after.append(lambda: report.answer(settled, stale, None))
