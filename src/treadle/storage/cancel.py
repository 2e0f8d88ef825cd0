"""Twins of sql/cancel.sql: work that is stopped before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.storage.load import statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.storage.database import Conn

_SQL = statements("cancel")


class TakenItem(NamedTuple):
    """An attempt taken out of its queue or its backoff (`queue_id` None)."""

    queue_id: int | None
    task_id: str
    attempt: int
    retries_used: int


async def take_queued(conn: Conn, *, task_ids: Sequence[str], tenant_id: int) -> list[TakenItem]:
    """Take the queued attempts of these tasks out of their queues."""
    rows = await conn.fetch(_SQL["take_queued"], task_ids, tenant_id)
    return [TakenItem(row[0], str(row[1]), row[2], row[3]) for row in rows]


async def take_backing_off(conn: Conn, *, task_ids: Sequence[str], tenant_id: int) -> list[TakenItem]:
    """Take the waiting retries of these tasks."""
    rows = await conn.fetch(_SQL["take_backing_off"], task_ids, tenant_id)
    return [TakenItem(None, str(row[0]), row[1], row[2]) for row in rows]
