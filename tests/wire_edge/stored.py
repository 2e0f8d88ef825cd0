"""Counting what the database holds, to see that nothing was stored."""

import asyncpg

from treadle.testing.engine import EngineProcess

# Written by the engine for itself, at any time.
_NOT_OF_CALLERS = {"engine", "lease"}


async def rows_stored(engine: EngineProcess) -> dict[str, int]:
    """How many rows each table has; tables without rows are left out."""
    connection = await asyncpg.connect(engine.database_url)
    try:
        tables = await connection.fetch(
            """SELECT relname FROM pg_class
               WHERE relnamespace = 'treadle'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"""
        )
        names = [table["relname"] for table in tables if table["relname"] not in _NOT_OF_CALLERS]
        # One statement, so one snapshot.
        counts = await connection.fetch(
            " UNION ALL ".join(f"SELECT '{name}' AS name, count(*) FROM treadle.\"{name}\"" for name in names)
        )
        return {row["name"]: row["count"] for row in counts if row["count"]}
    finally:
        await connection.close()
