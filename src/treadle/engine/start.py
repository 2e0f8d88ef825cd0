"""Start: a worker says that an attempt has begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.model.states import EventKind
from treadle.storage import start as rows

if TYPE_CHECKING:
    from treadle.engine.attempt import Attempt
    from treadle.engine.batch import Batch
    from treadle.storage.database import Conn


def start(attempt: Attempt, started_at: float, batch: Batch, *, keep: bool) -> None:
    """Note that an attempt has begun; saying it twice changes nothing.

    Args:
        attempt: the current attempt of its task.
        started_at: the worker's time, epoch seconds.
        batch: the commit.
        keep: whether to store it with the running attempt, not only in the event log.
    """
    if attempt.started_at is not None:
        return
    attempt.started_at = min(max(started_at, attempt.assigned_at), batch.now)
    batch.note(EventKind.STARTED, attempt.kind.tenant_id, attempt.task_id, attempt.attempt)
    batch.show(EventKind.STARTED, attempt.attempt, attempt.kind, attempt.task_id, "", attempt.run_id)
    if keep:
        batch.started.append(attempt)


async def write(attempts: list[Attempt], conn: Conn) -> None:
    """Store the starts."""
    await rows.mark_started(
        conn,
        tenant_ids=[attempt.kind.tenant_id for attempt in attempts],
        task_ids=[attempt.task_id for attempt in attempts],
        attempts=[attempt.attempt for attempt in attempts],
        started_at=[attempt.started_at or attempt.assigned_at for attempt in attempts],
    )
