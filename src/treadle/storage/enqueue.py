"""Twins of sql/enqueue.sql: the queue's rows, and the window of them that the scheduler holds."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from treadle.storage import copy
from treadle.storage.load import statements
from treadle.storage.rows import TaskColumns, only, task_columns

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from treadle.storage.database import Conn

_SQL = statements("enqueue")

# The number of fields, then all of them but expires_at.
_fixed = Struct(">hiiiiihiqi16siiihih").pack


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
    """An attempt to be queued, column by column; `expires_at` in epoch seconds."""

    tenant_id: int
    queue_id: int
    rank: int
    position: int
    task_id: str
    attempt: int
    retries_used: int
    reassigned: int
    expires_at: float


async def insert_queue_items(conn: Conn, rows: Iterable[QueueRow]) -> None:
    """Queue attempts that found no free slot in the commit that made them ready, by COPY."""
    stamps = copy.Stamps()
    await copy.send(
        conn,
        "queue_item",
        QueueRow._fields,
        [
            _fixed(
                9,
                4,
                tenant,
                4,
                queue,
                2,
                rank,
                8,
                position,
                16,
                copy.uuid_bytes(task),
                4,
                attempt,
                2,
                retries,
                2,
                moved,
            )
            + stamps[expires_at]
            for tenant, queue, rank, position, task, attempt, retries, moved, expires_at in rows
        ],
    )


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
