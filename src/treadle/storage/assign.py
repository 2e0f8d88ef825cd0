"""Twins of sql/assign.sql: queued attempts become running ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.storage.load import statements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from treadle.storage.database import Conn

_SQL = statements("assign")


async def insert_attempts(
    conn: Conn,
    *,
    tenant_ids: Sequence[int],
    task_ids: Sequence[str],
    attempts: Sequence[int],
    worker_ids: Sequence[str],
    retries_used: Sequence[int],
    reassigned: Sequence[int],
    timeouts_at: Sequence[datetime],
    assigned_at: datetime,
) -> None:
    """Give attempts to workers."""
    await conn.execute(
        _SQL["insert_attempts"],
        tenant_ids,
        task_ids,
        attempts,
        worker_ids,
        retries_used,
        reassigned,
        timeouts_at,
        assigned_at,
    )


async def delete_queue_items(
    conn: Conn,
    *,
    tenant_ids: Sequence[int],
    queue_ids: Sequence[int],
    ranks: Sequence[int],
    positions: Sequence[int],
) -> int:
    """Take items out of the queue; returns how many were still there."""
    row = await conn.fetchrow(_SQL["delete_queue_items"], tenant_ids, queue_ids, ranks, positions)
    assert row is not None
    return int(row["taken"])


async def load_inputs(conn: Conn, *, tenant_ids: Sequence[int], ids: Sequence[str]) -> dict[str, bytes]:
    """Inputs by task id."""
    rows = await conn.fetch(_SQL["load_inputs"], tenant_ids, ids)
    return {str(row[0]): row[1] for row in rows}
