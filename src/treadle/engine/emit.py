"""Emit: what happened goes into the event log, and the lines that tasks wrote into theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.storage import emit as rows

if TYPE_CHECKING:
    from treadle.engine.batch import Batch
    from treadle.storage.database import Conn


async def write_events(batch: Batch, conn: Conn) -> None:
    """Append this commit's events."""
    await rows.insert_events(conn, at=batch.moment, groups=list(batch.events.values()))


async def write_logs(batch: Batch, conn: Conn) -> None:
    """Store this commit's log lines."""
    logs = batch.logs
    await rows.insert_logs(
        conn,
        tenant_ids=[tenant_id for tenant_id, _ in logs],
        task_ids=[line.task_id for _, line in logs],
        attempts=[line.attempt for _, line in logs],
        at=[line.at for _, line in logs],
        levels=[line.level for _, line in logs],
        messages=[line.message for _, line in logs],
        metadata=[line.metadata for _, line in logs],
    )
