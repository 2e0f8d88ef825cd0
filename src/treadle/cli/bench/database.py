"""What a run of the benchmark costs the database, from its own statistics."""

import asyncio
import time
from dataclasses import dataclass

from treadle.storage.database import connect

_LOOK_SECONDS = 0.01
_SLOW_LOOK_SECONDS = 0.1
_SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "wal_compression",
    "max_wal_size",
    "checkpoint_timeout",
)


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


async def wait_until_idle(url: str, *, seconds: float) -> int:
    """Wait until nothing is queued or running; the moment (CLOCK_MONOTONIC, ns) when that was seen.

    A result is stored in the commit that ends its attempt, so then every result is stored.
    """
    conn = await connect(url, name="treadle bench")
    try:
        deadline = time.monotonic() + seconds
        while await conn.fetchval(
            "SELECT EXISTS (SELECT FROM treadle.attempt) OR EXISTS (SELECT FROM treadle.queue_item)"
        ):
            if time.monotonic() > deadline:
                raise TimeoutError(f"tasks were still queued or running after {seconds:g} s")
            await asyncio.sleep(_LOOK_SECONDS)
        return time.monotonic_ns()
    finally:
        await conn.close()


async def count_results(url: str) -> int:
    """How many runs have ended."""
    conn = await connect(url, name="treadle bench")
    try:
        return int(await conn.fetchval("SELECT count(*) FROM treadle.task_result"))
    finally:
        await conn.close()


async def read_transactions(url: str) -> int:
    """Transactions of all databases so far. Backends hand in their counts with a delay of up to ten seconds."""
    conn = await connect(url, name="treadle bench")
    try:
        return int(await conn.fetchval("SELECT sum(xact_commit + xact_rollback)::bigint FROM pg_stat_database"))
    finally:
        await conn.close()


async def wait_for_workers(url: str, workers: int, *, seconds: float) -> None:
    """Wait until so many workers have registered."""
    conn = await connect(url, name="treadle bench")
    try:
        deadline = time.monotonic() + seconds
        while await conn.fetchval("SELECT count(*) FROM treadle.worker") < workers:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{workers} workers had not registered after {seconds:g} s")
            await asyncio.sleep(_SLOW_LOOK_SECONDS)
    finally:
        await conn.close()


async def owner_of_first_tenant(url: str) -> str | None:
    """Address of the engine that schedules the default tenant."""
    conn = await connect(url, name="treadle bench")
    try:
        address: str | None = await conn.fetchval(
            "SELECT e.address FROM treadle.lease l JOIN treadle.engine e ON e.id = l.engine_id ORDER BY l.tenant_id LIMIT 1"
        )
        return address
    finally:
        await conn.close()


async def first_assignment_after(url: str, moment: float, *, seconds: float) -> float:
    """When the first attempt was assigned after a moment, both in seconds of the epoch.

    The engine's own clock says when, and it stands beside the attempt and, later, beside the result.
    """
    conn = await connect(url, name="treadle bench")
    try:
        deadline = time.monotonic() + seconds
        while True:
            found = await conn.fetchval(
                """
                SELECT extract(epoch FROM min(assigned_at))::float8
                FROM (SELECT min(assigned_at) AS assigned_at FROM treadle.attempt WHERE assigned_at > to_timestamp($1)
                      UNION ALL
                      SELECT min(assigned_at) FROM treadle.task_result WHERE assigned_at > to_timestamp($1)) a
                """,
                moment,
            )
            if found is not None:
                return float(found)
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing was assigned for {seconds:g} s")
            await asyncio.sleep(_SLOW_LOOK_SECONDS)
    finally:
        await conn.close()


async def read_settings(url: str) -> dict[str, str]:
    """The settings of the server that decide whether its figures are honest."""
    conn = await connect(url, name="treadle bench")
    try:
        return {name: await conn.fetchval("SELECT current_setting($1)", name) for name in _SETTINGS}
    finally:
        await conn.close()
