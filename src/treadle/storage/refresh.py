"""Twins of sql/refresh.sql: what a running attempt may change about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.storage.load import statements

if TYPE_CHECKING:
    from datetime import datetime

    from treadle.storage.database import Conn

_SQL = statements("refresh")


async def set_timeout(conn: Conn, *, tenant_id: int, task_id: str, attempt: int, timeout_at: datetime) -> None:
    """Move the deadline of a running attempt."""
    await conn.execute(_SQL["set_timeout"], tenant_id, task_id, attempt, timeout_at)


async def set_slot_released(conn: Conn, *, tenant_id: int, task_id: str, attempt: int) -> None:
    """Note that a running attempt has given its slot back."""
    await conn.execute(_SQL["set_slot_released"], tenant_id, task_id, attempt)
