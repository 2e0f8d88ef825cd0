"""What a run of the benchmark costs the database, from its own statistics."""

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from treadle.storage.database import connect

if TYPE_CHECKING:
    from treadle.storage.database import Conn

_SETTLE_SECONDS = 12.0
_LOOK_SECONDS = 0.1
_SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes")


@dataclass(frozen=True, slots=True)
class Cost:
    """Counters since the database was made."""

    wal_bytes: int
    inserted: int
    updated: int
    deleted: int

    def __sub__(self, before: "Cost") -> "Cost":
        return Cost(
            self.wal_bytes - before.wal_bytes,
            self.inserted - before.inserted,
            self.updated - before.updated,
            self.deleted - before.deleted,
        )


async def read_cost(url: str, *, results: int) -> Cost:
    """The counters, once they tell of so many results: backends hand theirs in with a delay of up to ten seconds."""
    conn = await connect(url, name="treadle bench")
    try:
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            cost, counted = await _counters(conn)
            if counted >= results or time.monotonic() > deadline:
                return cost
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        await conn.close()


async def wait_for_results(url: str, results: int, *, seconds: float) -> int:
    """Wait until so many results are stored; the moment (CLOCK_MONOTONIC, ns) when they were seen."""
    conn = await connect(url, name="treadle bench")
    try:
        deadline = time.monotonic() + seconds
        while await conn.fetchval("SELECT count(*) FROM treadle.task_result") < results:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{results} results were not there after {seconds:g} s")
            await asyncio.sleep(_LOOK_SECONDS)
        return time.monotonic_ns()
    finally:
        await conn.close()


async def read_settings(url: str) -> dict[str, str]:
    """The settings of the server that decide whether its figures are honest."""
    conn = await connect(url, name="treadle bench")
    try:
        return {name: await conn.fetchval("SELECT current_setting($1)", name) for name in _SETTINGS}
    finally:
        await conn.close()


async def _counters(conn: "Conn") -> tuple[Cost, int]:
    row = await conn.fetchrow(
        """
        SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint,
               coalesce(sum(n_tup_ins), 0)::bigint, coalesce(sum(n_tup_upd), 0)::bigint,
               coalesce(sum(n_tup_del), 0)::bigint,
               coalesce(sum(n_tup_ins) FILTER (WHERE relname LIKE 'task_result%'), 0)::bigint
        FROM pg_stat_user_tables WHERE schemaname LIKE 'treadle%'
        """
    )
    assert row is not None  # noqa: S101 - an aggregate always has a row
    *cost, results = row
    return Cost(*cost), results
