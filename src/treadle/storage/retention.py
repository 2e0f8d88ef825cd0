"""Twins of sql/retention.sql: whole day partitions are dropped once nobody needs them."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg

from treadle.model.ids import id_at
from treadle.storage.database import unlock
from treadle.storage.load import statements
from treadle.storage.partitions import BY_ID, BY_TIME, partition_name
from treadle.storage.rows import only

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from treadle.storage.database import Conn

_SQL = statements("retention")

LOCK = 7_283_401_004
# A drop waits this long for the table, and so do the inserts that come behind it.
_LOCK_TIMEOUT = "200ms"
_dated = re.compile(r"(?P<table>[a-z_]+)_(?P<day>\d{8})").fullmatch
# The day's runs go first: without them nothing of the day can be run again, and the rest may follow at leisure.
_FIRST = "task"
# These tell of their own day to runs of that day and of earlier ones: of any that has not ended since then.
_TELLING = (*BY_TIME, "event")
_AFTER = tuple(table for table in BY_ID if table != _FIRST and table not in _TELLING)


@dataclass(slots=True)
class Swept:
    """What became of the days that are old enough: partitions by name."""

    dropped: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    """Still needed by a run that has not ended."""
    busy: list[str] = field(default_factory=list)
    """Locked by somebody else for longer than inserts may be kept waiting."""


async def day_partitions(conn: Conn) -> dict[str, set[date]]:
    """The days for which each table has a partition."""
    found: dict[str, set[date]] = {table: set() for table in (*BY_ID, *BY_TIME)}
    for row in await conn.fetch(_SQL["day_partitions"]):
        match = _dated(row["name"])
        if match is not None and match["table"] == row["parent"] and match["table"] in found:
            day = datetime.strptime(match["day"], "%Y%m%d").replace(tzinfo=UTC).date()
            found[match["table"]].add(day)
    return found


async def missing_partitions(conn: Conn, *, day: date) -> list[str]:
    """Names of the partitions that a day lacks."""
    found = await day_partitions(conn)
    return [partition_name(table, day) for table, days in found.items() if day not in days]


async def drop_old_partitions(conn: Conn, *, today: date, keep_days: int) -> Swept | None:
    """Drop the partitions of days that ended more than `keep_days` days ago.

    Inserts are never kept waiting for longer than a fraction of a second: what cannot be had by then is left for the
    next time.

    Args:
        conn: a connection outside a transaction.
        today: the current day in UTC.
        keep_days: how many whole days are kept, besides today.

    Returns:
        what was done; None when another engine is at it.
    """
    async with _alone(conn) as alone:
        if not alone:
            return None
        swept = Swept()
        horizon = today - timedelta(days=keep_days)
        found = await day_partitions(conn)
        days = sorted({day for known in found.values() for day in known if day < horizon})
        for day in days:
            await _drop_day(conn, day, {table for table, known in found.items() if day in known}, swept)
        return swept


async def _drop_day(conn: Conn, day: date, tables: set[str], swept: Swept) -> None:
    low, high = day_ids(day)
    if _FIRST in tables and not await _drop(conn, _FIRST, day, swept, unless=(low, high)):
        return
    await forget_replayed(conn, low, high)
    for table in _AFTER:
        if table in tables:
            await _drop(conn, table, day, swept)
    for table in _TELLING:
        if table in tables:
            await _drop(conn, table, day, swept, unless=(id_at(0), high))


async def _drop(conn: Conn, table: str, day: date, swept: Swept, *, unless: tuple[str, str] | None = None) -> bool:
    """Drop one partition; False when it has to stay for now."""
    name = partition_name(table, day)
    if unless is not None and await holds_unended(conn, *unless):
        swept.held.append(name)
        return False
    try:
        async with conn.transaction():
            await conn.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            # Names are our own. The parent first, as every insert and every query does it.
            await conn.execute(f"LOCK TABLE ONLY treadle.{table}, ONLY treadle.{name} IN ACCESS EXCLUSIVE MODE")
            # Once more, now that nobody can bring a run of that day back.
            if unless is not None and await holds_unended(conn, *unless):
                swept.held.append(name)
                return False
            await conn.execute(f"DROP TABLE treadle.{name}")
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        swept.busy.append(name)
        return False
    swept.dropped.append(name)
    return True


def day_ids(day: date) -> tuple[str, str]:
    """The first id of a day, and that of the next."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return id_at(start.timestamp()), id_at((start + timedelta(days=1)).timestamp())


async def holds_unended(conn: Conn, low: str, high: str) -> bool:
    """Whether a run that has not ended was made between two ids, or is the parent of one that was."""
    return bool(only(await conn.fetchrow(_SQL["holds_unended"], low, high))["held"])


async def forget_replayed(conn: Conn, low: str, high: str) -> None:
    """Forget the next attempts of replayed tasks between two ids, whose runs are gone."""
    await conn.execute(_SQL["forget_replayed"], low, high)


@asynccontextmanager
async def _alone(conn: Conn) -> AsyncIterator[bool]:
    locked = await lock_retention(conn)
    try:
        yield locked
    finally:
        if locked and not conn.is_closed():
            await unlock(conn, LOCK)


async def lock_retention(conn: Conn) -> bool:
    """Be the only one at it; False when somebody else is."""
    return bool(only(await conn.fetchrow(_SQL["lock_retention"], LOCK))["locked"])
