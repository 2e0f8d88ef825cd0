"""Day partitions of the tables that grow, made ahead of time."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from treadle.model.ids import id_at
from treadle.storage.database import unlock

if TYPE_CHECKING:
    from treadle.storage.database import Conn

BY_ID = ("task", "task_result", "child", "log_line", "event")
BY_TIME = ("event_log",)
DAYS_AHEAD = 7
# Ids may lie a day back (a client's clock, a run that began before midnight): yesterday has its partition too.
_DAYS_BACK = 1
# Engines that make partitions wait for each other: IF NOT EXISTS fails when two create the same table at once.
_LOCK = 7_283_401_003


async def ensure_partitions(conn: Conn, *, today: date | None = None) -> list[str]:
    """Create the day partitions from yesterday to a week ahead that are missing.

    Args:
        conn: a connection outside a transaction.
        today: the current day in UTC; the system's by default.

    Returns:
        names of the partitions made now.
    """
    first = (today or datetime.fromtimestamp(time.time(), UTC).date()) - timedelta(days=_DAYS_BACK)
    days = [first + timedelta(days=n) for n in range(_DAYS_BACK + DAYS_AHEAD + 1)]
    wanted = {partition_name(table, day): (table, day) for table in (*BY_ID, *BY_TIME) for day in days}
    if wanted.keys() <= await _tables(conn):
        return []
    await conn.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        existing = await _tables(conn)
        made = [name for name in wanted if name not in existing]
        for name in made:
            table, day = wanted[name]
            low, high = _bounds(table, day)
            # The values are our own, never a caller's. Made apart and attached: `PARTITION OF` would lock all others out
            # of the table, and would wait for whoever reads it, a backup for instance.
            async with conn.transaction():
                await conn.execute(f"CREATE TABLE treadle.{name} (LIKE treadle.{table})")
                await conn.execute(
                    f"ALTER TABLE treadle.{table} ATTACH PARTITION treadle.{name} FOR VALUES FROM ('{low}') TO ('{high}')"
                )
    finally:
        await unlock(conn, _LOCK)
    return made


def partition_name(table: str, day: date) -> str:
    """What the partition of a day is called."""
    return f"{table}_{day:%Y%m%d}"


async def _tables(conn: Conn) -> set[str]:
    rows = await conn.fetch(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'treadle'"
    )
    return {row["relname"] for row in rows}


def _bounds(table: str, day: date) -> tuple[str, str]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    end = start + timedelta(days=1)
    if table in BY_TIME:
        return start.isoformat(), end.isoformat()
    return id_at(start.timestamp()), id_at(end.timestamp())
