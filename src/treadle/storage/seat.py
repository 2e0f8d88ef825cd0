"""The scheduler's seat: an advisory lock held by the very connection that writes, so it cannot outlive its right."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treadle.storage.database import Conn

_SEAT = 7_283_401_002


async def try_take_seat(conn: Conn) -> bool:
    """Take the seat if nobody has it. Postgres frees it when the connection ends, however it ends."""
    return bool(await conn.fetchval("SELECT pg_try_advisory_lock($1)", _SEAT))
