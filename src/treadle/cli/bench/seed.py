"""Finished runs, put into the tables as the engine itself would have left them, but faster."""

import asyncio
import time
from typing import Any

from treadle.storage.database import Conn, connect

_BATCH = 100_000
_IDS_PER_EVENT = 200

# The newest finished run is the model: the same task, with the same sizes and the same events.
_FIND_MODEL = """
CREATE TEMPORARY TABLE model AS
SELECT t.tenant_id, t.id, t.version, t.step, t.queue_id, t.priority, t.input, t.metadata,
       r.worker_id, r.attempt, r.status, r.retries_used, r.output
FROM treadle.task t JOIN treadle.task_result r USING (tenant_id, id)
ORDER BY t.id DESC LIMIT 1
"""

# Ids are UUIDv7 of the last day, oldest first: the rows lie in the partitions that new runs go to.
_MAKE_IDS = """
CREATE TEMPORARY TABLE seeded AS
SELECT n, to_timestamp(ms / 1000.0) AS at,
       (lpad(to_hex(ms), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid AS id
FROM (SELECT n, (extract(epoch FROM now()) * 1000)::bigint - 60000 - ($3::bigint - n) * 86000000 / $3::bigint AS ms
      FROM generate_series($1::bigint, $2::bigint) n) moments
"""

_INSERTS = (
    """
    INSERT INTO treadle.task (tenant_id, id, version, step, queue_id, priority, input, metadata, created_at)
    SELECT m.tenant_id, s.id, m.version, m.step, m.queue_id, m.priority, m.input, m.metadata, s.at
    FROM seeded s CROSS JOIN model m
    """,
    """
    INSERT INTO treadle.task_result
        (tenant_id, id, worker_id, attempt, status, retries_used, assigned_at, started_at, finished_at, output)
    SELECT m.tenant_id, s.id, m.worker_id, m.attempt, m.status, m.retries_used, s.at, s.at, s.at, m.output
    FROM seeded s CROSS JOIN model m
    """,
)

_INSERT_EVENTS = """
INSERT INTO treadle.event_log (at, tenant_id, kind, task_ids, attempts)
SELECT max(s.at), m.tenant_id, k.kind, array_agg(s.id), array_agg(1)
FROM seeded s CROSS JOIN model m
CROSS JOIN (SELECT DISTINCT e.kind FROM treadle.event_log e, model WHERE model.id = ANY (e.task_ids)) k
GROUP BY m.tenant_id, k.kind, s.n / $1::bigint
"""


def insert_finished_runs(url: str, count: int) -> dict[str, Any]:
    """Put `count` finished runs of the last day into the tables; at least one real run must have finished."""
    began = time.monotonic()
    events = asyncio.run(_insert(url, count))
    return {"runs": count, "event_rows": events, "seconds": round(time.monotonic() - began, 1)}


async def _insert(url: str, count: int) -> int:
    conn = await connect(url, name="treadle bench")
    try:
        await conn.execute(_FIND_MODEL)
        for first in range(1, count + 1, _BATCH):
            async with conn.transaction():
                await _insert_batch(conn, first, min(first + _BATCH - 1, count), count)
        # As autovacuum would have, in the hours that this stands for.
        await conn.execute("VACUUM (ANALYZE)", timeout=None)
        await conn.execute("CHECKPOINT", timeout=None)
        return int(await conn.fetchval("SELECT count(*) FROM treadle.event_log"))
    finally:
        await conn.close()


async def _insert_batch(conn: Conn, first: int, last: int, count: int) -> None:
    await conn.execute(_MAKE_IDS, first, last, count)
    for statement in _INSERTS:
        await conn.execute(statement)
    await conn.execute(_INSERT_EVENTS, _IDS_PER_EVENT)
    await conn.execute("DROP TABLE seeded")
