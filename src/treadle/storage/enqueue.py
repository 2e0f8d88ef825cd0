"""Twins of sql/enqueue.sql: the queue's rows, and the window of them that the scheduler holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.storage.load import statements
from treadle.storage.rows import TaskColumns, only, task_columns

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from treadle.storage.database import Conn

_SQL = statements("enqueue")


class WindowRow(NamedTuple):
    """A queued attempt with what a worker will need."""

    rank: int
    position: int
    task_id: str
    attempt: int
    retries_used: int
    reassigned: int
    expires_at: datetime
    task: TaskColumns


class QueueRow(NamedTuple):
    """An attempt to be queued, column by column."""

    tenant_id: int
    queue_id: int
    rank: int
    position: int
    task_id: str
    attempt: int
    retries_used: int
    reassigned: int
    expires_at: datetime


async def insert_queue_items(conn: Conn, rows: Iterable[QueueRow]) -> None:
    """Queue attempts that found no free slot in the commit that made them ready, by COPY."""
    await conn.copy_records_to_table("queue_item", schema_name="treadle", columns=QueueRow._fields, records=rows)


async def load_window(
    conn: Conn, *, tenant_id: int, queue_id: int, after: tuple[int, int], limit: int, input_limit: int
) -> list[WindowRow]:
    """The next items of a queue after the key (rank, position)."""
    rows = await conn.fetch(_SQL["load_window"], tenant_id, queue_id, after[0], after[1], limit, input_limit)
    return [
        WindowRow(row[0], row[1], str(row[2]), row[3], row[4], row[5], row[6], task_columns(row, 7)) for row in rows
    ]


async def filled_queues(conn: Conn, *, tenant_id: int) -> list[int]:
    """Every queue of a tenant that holds at least one item."""
    return [row[0] for row in await conn.fetch(_SQL["filled_queues"], tenant_id)]


async def next_position(conn: Conn) -> int:
    """Reserve a block of 100,000 queue positions; returns the last one of it."""
    row = only(await conn.fetchrow(_SQL["next_position"]))
    return int(row["last"])
