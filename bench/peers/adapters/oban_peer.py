import asyncio
import os
import sys

import uvloop
from oban import Oban
from oban import worker as oban_worker
from oban.schema import install

from adapters.base import BATCH, PgPeer

LIMIT = int(os.environ.get("OBAN_LIMIT", "500"))


@oban_worker(queue="default")
class Noop:
    async def process(self, job):
        import rec

        rec.started(job.args["i"])


class ObanPeer(PgPeer):
    settings = (
        f"queue limit={LIMIT}, stager 1 s (default), Postgres notifier, pruner 1 day (default); enqueue_many({BATCH})"
    )
    persists = "job row kept (state completed) until pruned after 1 day; no result value; acks batched per fetch loop"
    done_sql = "SELECT count(*) FROM oban_jobs WHERE state = 'completed'"

    async def migrate(self):
        pool = await Oban.create_pool(self.dsn, max_size=2)
        await install(pool)
        await pool.close()

    async def open(self, conns=1):
        self.pool = await Oban.create_pool(self.dsn, min_size=conns, max_size=conns)
        self.o = Oban(pool=self.pool)

    async def close(self):
        await self.pool.close()

    async def one(self, i):
        return await self.o.enqueue(Noop.new({"i": i}))

    async def bulk(self, n):
        for s in range(0, n, BATCH):
            await self.o.enqueue_many(Noop.new({"i": i}) for i in range(s, min(s + BATCH, n)))


async def worker():
    pool = await Oban.create_pool(ObanPeer().dsn, max_size=10)
    async with Oban(pool=pool, queues={"default": LIMIT}):
        await asyncio.Event().wait()


if __name__ == "__main__" and sys.argv[1] == "worker":
    uvloop.run(worker())  # as its own command does
