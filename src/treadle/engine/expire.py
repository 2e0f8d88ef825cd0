"""Expire: queued attempts that waited too long, running ones past their deadline, backoffs that have passed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.attempt import attempt_from_columns
from treadle.engine.catalog import RUN_STEP
from treadle.engine.enqueue import INPUT_KEPT
from treadle.engine.fail import fail, make_ready
from treadle.engine.finish import end_waiting
from treadle.engine.ports import StopReason
from treadle.model.durations import format_duration
from treadle.model.states import EventKind, RunStatus
from treadle.storage import expire as expired_rows
from treadle.storage import retry as timer_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.engine.batch import Batch
    from treadle.engine.catalog import Catalog
    from treadle.engine.running import Running
    from treadle.storage.database import Conn

NOT_STARTED = "Task was not started within its schedule timeout of"
"""Begins the error of what waited too long."""

CHUNK = 1000
"""Most rows of one kind that fall due in one commit; the rest follow in the next."""


def overrun(running: Running, batch: Batch) -> None:
    """Fail the running attempts whose execution timeout has passed, and let their workers stop them."""
    for attempt in running.overdue(batch.now):
        limit = format_duration(round((attempt.timeout_at - attempt.assigned_at) * 1000))
        batch.note(EventKind.TIMED_OUT, attempt.kind.tenant_id, attempt.task_id, attempt.attempt)
        batch.stops.append((attempt.worker_id, attempt.task_id, attempt.attempt, StopReason.TIMED_OUT))
        fail(attempt, f"Task exceeded timeout of {limit}", running, batch, stopped=True)


async def expire_queued(catalog: Catalog, batch: Batch, conn: Conn, tenant_ids: Sequence[int]) -> list[str]:
    """Cancel the runs whose attempt waited in its queue past the schedule timeout.

    Returns:
        their task ids, for the scheduler's window to forget.
    """
    items = await expired_rows.take_expired_items(conn, now=batch.moment, limit=CHUNK, tenant_ids=tenant_ids)
    if not items:
        return []
    stored = await catalog.kinds_of(conn, [(item.tenant_id, item.task_id) for item in items])
    for item in items:
        kind, run_id = stored[item.task_id]
        batch.note(EventKind.SCHEDULING_TIMED_OUT, item.tenant_id, item.task_id, item.attempt)
        end_waiting(
            kind,
            item.task_id,
            item.attempt,
            RunStatus.CANCELLED,
            batch,
            retries_used=item.retries_used,
            error=f"{NOT_STARTED} {format_duration(kind.definition.schedule_timeout_ms)}",
            run_id=run_id,
        )
    return [item.task_id for item in items]


async def wake_due(catalog: Catalog, batch: Batch, conn: Conn, tenant_ids: Sequence[int]) -> None:
    """Let attempts whose backoff has passed be ready."""
    due = await timer_rows.take_due_timers(
        conn, now=batch.moment, limit=CHUNK, input_limit=INPUT_KEPT, tenant_ids=tenant_ids
    )
    await catalog.load_versions(conn, (timer.task.version for timer in due))
    for timer in due:
        attempt = attempt_from_columns(
            catalog.kind(timer.task.version, timer.task.step),
            task_id=timer.task_id,
            attempt=timer.attempt,
            columns=timer.task,
            retries_used=timer.retries_used,
            reassigned=timer.reassigned,
        )
        # A run that another engine took in waits here too, and comes to the end of the line like any other.
        if attempt.kind.step == RUN_STEP:
            batch.begun.append(attempt)
            continue
        attempt.returning = timer.attempt > 1
        make_ready(attempt, batch)
