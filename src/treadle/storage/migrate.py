"""Brings a database's schema up to date: numbered SQL files, each applied once, under an advisory lock."""

from __future__ import annotations

from importlib.resources import files

from treadle.storage.database import Conn, connect
from treadle.storage.partitions import ensure_partitions

# Any number will do as long as every engine uses the same one.
_LOCK = 7_283_401_001


async def migrate(database_url: str) -> list[str]:
    """Apply the migrations that the database does not have yet.

    Two engines may call this at once: one waits for the other. Each file runs in its own transaction together with the
    note that it ran, so a kill in between leaves the schema at a whole number of migrations.

    Args:
        database_url: postgresql:// URL of any Postgres 15 or newer.

    Returns:
        names of the files applied now, in order.
    """
    conn = await connect(database_url, name="treadle migrate")
    try:
        await conn.execute("SELECT pg_advisory_lock($1)", _LOCK)
        applied = await _apply_missing(conn)
        await ensure_partitions(conn)
        return applied
    finally:
        await conn.close()


def migration_files() -> list[tuple[str, str]]:
    """Every migration as (name, SQL), in order."""
    folder = files("treadle.storage").joinpath("migrations")
    found = [(entry.name, entry.read_text()) for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted(found)


async def _apply_missing(conn: Conn) -> list[str]:
    await conn.execute("CREATE SCHEMA IF NOT EXISTS treadle")
    await conn.execute(
        "CREATE TABLE IF NOT EXISTS treadle.migration (name text PRIMARY KEY, applied_at timestamptz NOT NULL)"
    )
    done = {row["name"] for row in await conn.fetch("SELECT name FROM treadle.migration")}
    applied = []
    for name, sql in migration_files():
        if name in done:
            continue
        async with conn.transaction():
            await conn.execute(sql)
            await conn.execute("INSERT INTO treadle.migration (name, applied_at) VALUES ($1, now())", name)
        applied.append(name)
    return applied
