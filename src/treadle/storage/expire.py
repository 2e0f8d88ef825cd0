"""Twins of sql/expire.sql: queued attempts that waited too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.storage.load import statements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from treadle.storage.database import Conn

_SQL = statements("expire")


class ExpiredItem(NamedTuple):
    """A queued attempt past its schedule timeout, now out of the queue."""

    tenant_id: int
    queue_id: int
    task_id: str
    attempt: int
    retries_used: int


async def take_expired_items(conn: Conn, *, now: datetime, limit: int, tenant_ids: Sequence[int]) -> list[ExpiredItem]:
    """Take queued attempts whose schedule timeout has passed."""
    rows = await conn.fetch(_SQL["take_expired_items"], now, limit, tenant_ids)
    return [ExpiredItem(row[0], row[1], str(row[2]), row[3], row[4]) for row in rows]


async def next_expiry(conn: Conn, *, tenant_ids: Sequence[int]) -> datetime | None:
    """When the earliest queued attempt expires."""
    row = await conn.fetchrow(_SQL["next_expiry"], tenant_ids)
    return row["expires_at"] if row is not None else None
