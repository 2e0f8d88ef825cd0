"""Twins of sql/assign.sql: queued attempts become running ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.storage import arrays
from treadle.storage.load import statements
from treadle.storage.rows import only

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
    timeouts_at: Sequence[float],
    assigned_at: datetime,
) -> None:
    """Give attempts to workers; `timeouts_at` in epoch seconds."""
    await conn.execute(
        _SQL["insert_attempts"],
        arrays.numbers(tenant_ids),
        arrays.ids(task_ids),
        arrays.numbers(attempts),
        arrays.ids(worker_ids),
        arrays.numbers(retries_used),
        arrays.numbers(reassigned),
        arrays.times(timeouts_at),
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
    row = only(
        await conn.fetchrow(
            _SQL["delete_queue_items"],
            arrays.numbers(tenant_ids),
            arrays.numbers(queue_ids),
            arrays.numbers(ranks),
            arrays.numbers(positions),
        )
    )
    return int(row["taken"])


async def load_inputs(conn: Conn, *, tenant_ids: Sequence[int], ids: Sequence[str]) -> dict[str, bytes]:
    """Inputs by task id."""
    rows = await conn.fetch(_SQL["load_inputs"], arrays.numbers(tenant_ids), arrays.ids(ids))
    return {str(row[0]): row[1] for row in rows}
