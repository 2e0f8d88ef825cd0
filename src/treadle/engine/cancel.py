"""Cancel: stop runs that have not ended, wherever they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.finish import end_running, end_waiting, leave
from treadle.engine.ports import StopReason
from treadle.model.states import RunStatus
from treadle.storage import cancel as rows

if TYPE_CHECKING:
    from treadle.engine.batch import Batch
    from treadle.engine.catalog import Catalog
    from treadle.engine.running import Running
    from treadle.storage.database import Conn


async def cancel(
    tenant_id: int,
    task_ids: list[str],
    *,
    running: Running,
    catalog: Catalog,
    batch: Batch,
    conn: Conn,
) -> list[str]:
    """Cancel these runs.

    Args:
        tenant_id: the caller's tenant.
        task_ids: runs; those that have ended, or are not the tenant's, are left alone.
        running: the running attempts.
        catalog: registered task kinds.
        batch: the commit.
        conn: its transaction.

    Returns:
        the runs that were cancelled.
    """
    cancelled = []
    waiting = []
    for task_id in dict.fromkeys(task_ids):
        attempt = running.current(tenant_id, task_id, 0)
        if attempt is None:
            waiting.append(task_id)
            continue
        batch.stops.append((attempt.worker_id, task_id, attempt.attempt, StopReason.CANCELLED))
        leave(attempt, running, batch, stopped=True)
        end_running(attempt, RunStatus.CANCELLED, batch, error="")
        cancelled.append(task_id)
    if waiting:
        taken = await rows.take_queued(conn, task_ids=waiting, tenant_id=tenant_id)
        taken += await rows.take_backing_off(conn, task_ids=waiting, tenant_id=tenant_id)
        kinds = await catalog.kinds_of(conn, [(tenant_id, item.task_id) for item in taken])
        for item in taken:
            end_waiting(
                kinds[item.task_id],
                item.task_id,
                item.attempt,
                RunStatus.CANCELLED,
                batch,
                retries_used=item.retries_used,
                error="",
            )
        cancelled += [item.task_id for item in taken]
    return cancelled
