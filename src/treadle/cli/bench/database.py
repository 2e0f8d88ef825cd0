"""What a run of the benchmark costs the database, from its own statistics."""

import asyncio
import time
from dataclasses import dataclass

from treadle.storage.database import connect

_LOOK_SECONDS = 0.1
_SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes")


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows written in our tables since the database was made."""

    inserted: int
    updated: int
    deleted: int


async def read_wal_bytes(url: str) -> int:
    """Bytes of write-ahead log since the database server was made."""
    conn = await connect(url, name="treadle bench")
    try:
        written: int = await conn.fetchval("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint")
        return written
    finally:
        await conn.close()


async def read_row_counts(url: str) -> RowCounts:
    """The counters. Backends hand theirs in with a delay of up to ten seconds, or when they end: end them first."""
    conn = await connect(url, name="treadle bench")
    try:
        row = await conn.fetchrow(
            """
            SELECT coalesce(sum(n_tup_ins), 0)::bigint, coalesce(sum(n_tup_upd), 0)::bigint,
                   coalesce(sum(n_tup_del), 0)::bigint
            FROM pg_stat_user_tables WHERE schemaname LIKE 'treadle%'
            """
        )
        assert row is not None  # noqa: S101 - an aggregate always has a row
        return RowCounts(*row)
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
