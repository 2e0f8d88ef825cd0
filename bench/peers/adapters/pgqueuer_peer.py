import json
import os
import sys
from datetime import timedelta

import asyncpg
import uvloop
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.core.completion import CompletionWatcher
from pgqueuer.core.qm import QueueManager
from pgqueuer.queries import Queries

from adapters.base import BATCH, PgPeer

BATCH_SIZE = int(os.environ.get("PGQ_BATCH", "500"))


class Pgqueuer(PgPeer):
    settings = (
        f"asyncpg pool driver; run(batch_size={BATCH_SIZE}, dequeue_timeout=30 s), durability=durable "
        f"(default), optimize_autovacuum applied; enqueue() with lists of {BATCH}"
    )
    persists = "queue row deleted; log rows (queued, picked, successful) inserted in pgqueuer_log; no result value"
    done_sql = "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"
    prefill_sql = (
        (
            "INSERT INTO pgqueuer_log(job_id, status, priority, entrypoint, aggregated) "
            "SELECT g, s::pgqueuer_status, 0, 'noop', true "
            "FROM generate_series(1, {n}) g, (VALUES ('queued'), ('picked'), ('successful')) v(s)"
        ),
    )

    async def migrate(self):
        async with asyncpg.create_pool(self.dsn, min_size=1, max_size=2) as pool:
            q = Queries(AsyncpgPoolDriver(pool))
            await q.install()
            await q.optimize_autovacuum()

    async def open(self, conns=1):
        self.pool = await asyncpg.create_pool(self.dsn, min_size=conns, max_size=conns + 1)
        self.driver = AsyncpgPoolDriver(self.pool)
        self.q = Queries(self.driver)
        self.w = None

    async def close(self):
        if self.w:
            await self.w.__aexit__(None, None, None)
        self.pool.terminate()  # a listener may still hold a connection

    async def one(self, i):
        return (await self.q.enqueue("noop", json.dumps({"i": i}).encode()))[0]

    async def bulk(self, n):
        for s in range(0, n, BATCH):
            ids = range(s, min(s + BATCH, n))
            await self.q.enqueue(["noop"] * len(ids), [json.dumps({"i": i}).encode() for i in ids], [0] * len(ids))

    async def roundtrip(self, i):
        if self.w is None:  # awaits the final status (no result value is stored); debounce 50 ms is the default
            self.w = CompletionWatcher(self.driver, queries=self.q)
            await self.w.__aenter__()
        jid = await self.one(i)
        assert await self.w.wait_for(jid) == "successful"


async def worker():
    import rec

    async with asyncpg.create_pool(Pgqueuer().dsn, min_size=2, max_size=10) as pool:
        qm = QueueManager(Queries(AsyncpgPoolDriver(pool)))

        @qm.entrypoint("noop")
        async def noop(job):
            rec.started(json.loads(job.payload)["i"])

        await qm.run(batch_size=BATCH_SIZE, dequeue_timeout=timedelta(seconds=30))


if __name__ == "__main__" and sys.argv[1] == "worker":
    uvloop.run(worker())  # as its own command does where uvloop is installed
