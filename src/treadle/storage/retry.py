"""Twins of sql/retry.sql: failed attempts that wait for their backoff."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.storage import arrays
from treadle.storage.load import statements
from treadle.storage.rows import TaskColumns, task_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from treadle.storage.database import Conn

_SQL = statements("retry")


class DueTimer(NamedTuple):
    """An attempt whose backoff has passed."""

    tenant_id: int
    task_id: str
    attempt: int
    retries_used: int
    reassigned: int
    task: TaskColumns


async def insert_timers(
    conn: Conn,
    *,
    tenant_ids: Sequence[int],
    task_ids: Sequence[str],
    attempts: Sequence[int],
    retries_used: Sequence[int],
    reassigned: Sequence[int],
    due_at: Sequence[float],
) -> None:
    """Let failed attempts wait; `due_at` in epoch seconds."""
    await conn.execute(
        _SQL["insert_timers"],
        arrays.numbers(tenant_ids),
        arrays.ids(task_ids),
        arrays.numbers(attempts),
        arrays.numbers(retries_used),
        arrays.numbers(reassigned),
        arrays.times(due_at),
    )


async def take_due_timers(
    conn: Conn, *, now: datetime, limit: int, input_limit: int, tenant_ids: Sequence[int]
) -> list[DueTimer]:
    """Take the timers that are due, earliest first."""
    rows = await conn.fetch(_SQL["take_due_timers"], now, limit, input_limit, tenant_ids)
    return [DueTimer(row[0], str(row[1]), row[2], row[3], row[4], task_columns(row, 5)) for row in rows]


async def next_due(conn: Conn, *, tenant_ids: Sequence[int]) -> datetime | None:
    """When the earliest timer is due."""
    row = await conn.fetchrow(_SQL["next_due"], tenant_ids)
    return row["due_at"] if row is not None else None
