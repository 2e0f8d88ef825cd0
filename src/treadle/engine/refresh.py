"""Refresh and release: what a running attempt may change about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.model.errors import NotFound
from treadle.model.states import EventKind
from treadle.runtime.clock import moment
from treadle.storage import refresh as rows

if TYPE_CHECKING:
    from treadle.engine.batch import Batch
    from treadle.engine.running import Running
    from treadle.storage.database import Conn


def refresh_timeout(tenant_id: int, task_id: str, seconds: float, running: Running, batch: Batch) -> float:
    """Move a running attempt's deadline.

    Returns:
        the new deadline, seconds since the epoch.

    Raises:
        NotFound: the task does not run.
    """
    attempt = running.current(tenant_id, task_id, 0)
    if attempt is None:
        raise NotFound("task_run_external_id", f"no running task {task_id}")
    attempt.timeout_at += seconds
    running.watch(attempt)
    batch.deadlines.append(attempt)
    batch.note(EventKind.TIMEOUT_REFRESHED, tenant_id, task_id, attempt.attempt, f"{seconds:g} s")
    return attempt.timeout_at


def release_slot(tenant_id: int, task_id: str, running: Running, batch: Batch) -> None:
    """Give back a running attempt's slot while it goes on; doing it twice changes nothing.

    Raises:
        NotFound: the task does not run.
    """
    attempt = running.current(tenant_id, task_id, 0)
    if attempt is None:
        raise NotFound("task_run_external_id", f"no running task {task_id}")
    if attempt.holds_slot:
        attempt.holds_slot = False
        batch.freed.append((attempt.worker_id, attempt.kind.slots))
        batch.slots_released.append(attempt)
        batch.note(EventKind.SLOT_RELEASED, tenant_id, task_id, attempt.attempt)


async def write(batch: Batch, conn: Conn) -> None:
    """Store the changes: rare, so one statement each."""
    for attempt in batch.deadlines:
        await rows.set_timeout(
            conn,
            tenant_id=attempt.kind.tenant_id,
            task_id=attempt.task_id,
            attempt=attempt.attempt,
            timeout_at=moment(attempt.timeout_at),
        )
    for attempt in batch.slots_released:
        await rows.set_slot_released(
            conn, tenant_id=attempt.kind.tenant_id, task_id=attempt.task_id, attempt=attempt.attempt
        )
