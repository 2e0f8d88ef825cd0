"""Enqueue: ready attempts that found no free slot are written to their queues; backlog comes back into the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.attempt import RETRY_POSITIONS, Attempt, attempt_from_columns
from treadle.storage import enqueue as rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from treadle.engine.catalog import Catalog
    from treadle.storage.database import Conn

INPUT_KEPT = 8192
"""Inputs up to this many bytes are kept with queued attempts in memory; larger ones are read when assigned."""

_BLOCK = 100_000


class Positions:
    """Hands out queue positions from blocks that the database reserves for this engine."""

    def __init__(self) -> None:
        self._next = 0
        self._last = -1

    async def reserve(self, count: int, connect: Callable[[], Awaitable[Conn]]) -> None:
        """Make sure that the next `count` positions need no database; `connect` is called if there are not so many."""
        while self._last - self._next + 1 < count:
            last = await rows.next_position(await connect())
            if last - _BLOCK != self._last:
                # Another engine took blocks in between: go on in the new one, never back into a gap.
                self._next = last - _BLOCK + 1
            self._last = last

    def place(self, attempt: Attempt) -> None:
        """Give a ready attempt its place: at the end of its rank, or of those that return and go first."""
        position = self._next
        self._next += 1
        attempt.position = RETRY_POSITIONS + position if attempt.returning else position


async def write(items: list[Attempt], conn: Conn) -> None:
    """Queue attempts."""
    await rows.insert_queue_items(
        conn,
        [
            rows.QueueRow(
                item.kind.tenant_id,
                item.kind.queue_id,
                item.rank,
                item.position,
                item.task_id,
                item.attempt,
                item.retries_used,
                item.reassigned,
                item.expires_at,
            )
            for item in items
        ],
    )


def settle(items: list[Attempt]) -> None:
    """After the commit: these stand in the table, and their large inputs need not be held."""
    for item in items:
        item.stored = True
        if item.input is not None and len(item.input) > INPUT_KEPT:
            item.input = None


async def read_window(
    catalog: Catalog, conn: Conn, *, tenant_id: int, queue_id: int, after: tuple[int, int], limit: int
) -> list[Attempt]:
    """The next queued attempts of a queue after the key (rank, position)."""
    found = await rows.load_window(
        conn, tenant_id=tenant_id, queue_id=queue_id, after=after, limit=limit, input_limit=INPUT_KEPT
    )
    await catalog.load_versions(conn, (row.task.version for row in found))
    items = []
    for row in found:
        item = attempt_from_columns(
            catalog.kind(row.task.version, row.task.step),
            task_id=row.task_id,
            attempt=row.attempt,
            columns=row.task,
            retries_used=row.retries_used,
            reassigned=row.reassigned,
        )
        item.rank = row.rank
        item.position = row.position
        item.expires_at = row.expires_at.timestamp()
        item.stored = True
        items.append(item)
    return items
