"""A database with some fifty thousand runs in every state, over two days, for tests of query plans."""

import asyncpg

TASKS = 50_000

# Ids as ours: the time first, then a number that makes them unique.
_ID = """
    CREATE FUNCTION pg_temp.id(ms bigint, n integer) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
        SELECT (lpad(to_hex(ms), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8'
                || lpad(to_hex(n), 15, '0'))::uuid
    $$
"""
# Half of the runs are a day old and have ended; of the younger half most wait or run.
_FILL = (
    """
    CREATE TEMP TABLE made AS
    SELECT n, to_timestamp($1::bigint / 1000) AS at,
           pg_temp.id($1::bigint - CASE WHEN n > $2 / 2 THEN 0 ELSE 86400000 END - n, n) AS id
    FROM generate_series(1, $2::integer) n
    """,
    """
    INSERT INTO treadle.task (id, tenant_id, queue_id, version, step, priority, created_at, metadata, input)
    SELECT id, 1, 1 + n % 5, 1, 0, 1 + n % 3, at, '{"customer":"c' || n % 100 || '"}',
           convert_to('{"n":' || n || '}', 'UTF8')
    FROM made
    """,
    """
    INSERT INTO treadle.queue_item
        (task_id, position, expires_at, tenant_id, queue_id, attempt, rank, retries_used, reassigned)
    SELECT id, n, at + n * interval '1 second', 1, 1 + n % 5, 1, -(1 + n % 3), 0, 0
    FROM made WHERE n > 50000 - 12000
    """,
    """
    INSERT INTO treadle.attempt
        (task_id, worker_id, assigned_at, timeout_at, tenant_id, attempt, retries_used, reassigned)
    SELECT id, pg_temp.id(1, n % 50), at, at + interval '1 minute', 1, 1, 0, 0
    FROM made WHERE n > 50000 - 18000 AND n <= 50000 - 12000
    """,
    """
    INSERT INTO treadle.timer (task_id, due_at, tenant_id, attempt, retries_used, reassigned)
    SELECT id, at + (n - 26000) * interval '1 second', 1, 2, 1, 0
    FROM made WHERE n > 50000 - 24000 AND n <= 50000 - 18000
    """,
    """
    INSERT INTO treadle.task_result (id, tenant_id, attempt, status, retries_used, finished_at, output)
    SELECT id, 1, 1, 3, 0, at, '1' FROM made WHERE n <= 50000 - 24000
    """,
    """
    INSERT INTO treadle.child (parent_id, child_id, tenant_id, key)
    SELECT p.id, c.id, 1, 'i:' || c.n FROM made c JOIN made p ON p.n = (c.n / 10) * 10 WHERE c.n % 10 <> 0
    """,
    """
    INSERT INTO treadle.log_line (task_id, tenant_id, attempt, at, level, message)
    SELECT id, 1, 1, at, 'INFO', 'line' FROM made WHERE n % 2 = 0
    """,
    """
    INSERT INTO treadle.condition (task_id, run_id, tenant_id, step, place, due_at, event_key, scope)
    SELECT id, id, 1, 0, p, CASE WHEN p = 0 THEN at + (n - 26000) * interval '1 second' END,
           CASE WHEN p = 1 THEN 'key-' || n % 500 END, NULL
    FROM made, generate_series(0, 1) p WHERE n > 50000 - 24000 AND n <= 50000 - 18000
    """,
    """
    INSERT INTO treadle.replayed (task_id, run_id, tenant_id, attempt)
    SELECT id, id, 1, 2 FROM made WHERE n > 50000 - 24000 AND n <= 50000 - 18000
    """,
    """
    INSERT INTO treadle.event (id, tenant_id, at, key, scope, payload)
    SELECT id, 1, at - n * interval '1 ms', 'key-' || n % 10, 'scope-' || n % 30, convert_to('{"n":' || n || '}', 'UTF8')
    FROM made
    """,
)


async def fill(url: str, now: float) -> None:
    """Make the rows of a migrated database, and let Postgres look at them."""
    conn = await asyncpg.connect(url)
    try:
        await conn.execute(_ID)
        for statement in _FILL:
            args = (int(now * 1000), TASKS) if "$1" in statement else ()
            await conn.execute(statement, *args)
        await conn.execute("ANALYZE")
    finally:
        await conn.close()
