"""Withdraw: attempts are taken from wherever they are, be that a worker, a queue or a backoff."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.engine.finish import leave
from treadle.storage import cancel as rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.engine.attempt import Attempt
    from treadle.engine.batch import Batch
    from treadle.engine.ports import StopReason
    from treadle.engine.running import Running
    from treadle.storage.database import Conn


class Withdrawn(NamedTuple):
    """An attempt that will not go on; `ran` is it itself, if it was running."""

    task_id: str
    attempt: int
    retries_used: int
    ran: Attempt | None


async def withdraw(
    tenant_id: int, task_ids: Sequence[str], reason: StopReason, *, running: Running, batch: Batch, conn: Conn
) -> list[Withdrawn]:
    """Take the attempts of these tasks away, without any result yet; workers are told to stop.

    Args:
        tenant_id: the caller's tenant.
        task_ids: tasks, each once; those that have no attempt, or are not the tenant's, are left alone.
        reason: what workers are told.
        running: the running attempts.
        batch: the commit.
        conn: its transaction.
    """
    found = []
    waiting = []
    for task_id in task_ids:
        attempt = running.current(tenant_id, task_id, 0)
        if attempt is None:
            waiting.append(task_id)
            continue
        batch.stops.append((attempt.worker_id, task_id, attempt.attempt, reason))
        leave(attempt, running, batch, stopped=True)
        found.append(Withdrawn(task_id, attempt.attempt, attempt.retries_used, attempt))
    if waiting:
        queued = await rows.take_queued(conn, task_ids=waiting, tenant_id=tenant_id)
        batch.withdrawn += [item.task_id for item in queued]
        backing_off = await rows.take_backing_off(conn, task_ids=waiting, tenant_id=tenant_id)
        found += [Withdrawn(item.task_id, item.attempt, item.retries_used, None) for item in queued + backing_off]
    return found
