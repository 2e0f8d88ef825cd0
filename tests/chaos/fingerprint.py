"""All stored rows about one run, as texts: equal before and after means that nothing was changed, not even invisibly."""

import asyncpg

_BY_COLUMN = {
    "task": "id",
    "task_result": "id",
    "attempt": "task_id",
    "queue_item": "task_id",
    "timer": "task_id",
    "log_line": "task_id",
    "child": "parent_id",
}


async def fingerprint(connection: asyncpg.Connection, task_id: str) -> dict[str, list[str]]:
    """The rows about the run, by table."""
    rows: dict[str, list[str]] = {}
    for table, column in _BY_COLUMN.items():
        rows[table] = await _texts(connection, f"{column} = $1::uuid", table, task_id)
    rows["event_log"] = await _texts(connection, "task_ids @> ARRAY[$1::uuid]", "event_log", task_id)
    return rows


async def count_rows(connection: asyncpg.Connection) -> dict[str, int]:
    """How many rows each table holds, all tenants together."""
    tables = [*_BY_COLUMN, "event_log"]
    return {table: await connection.fetchval(f"SELECT count(*) FROM treadle.{table}") for table in tables}


async def _texts(connection: asyncpg.Connection, condition: str, table: str, task_id: str) -> list[str]:
    query = f"SELECT each::text FROM treadle.{table} AS each WHERE {condition} ORDER BY 1"
    return [str(row[0]) for row in await connection.fetch(query, task_id)]
