import asyncio
import logging
import os
import sys

from chancy import Chancy, Job, Queue, Worker

from adapters.base import BATCH, PgPeer

CONCURRENCY = int(os.environ.get("CHANCY_CONC", "500"))


async def noop(*, i: int):
    import rec

    rec.started(i)


class ChancyPeer(PgPeer):
    settings = (
        f"AsyncExecutor, queue concurrency={CONCURRENCY}, eager_polling=True, polling_interval 5 s (default), "
        f"NOTIFY on, default plugins; completions flushed every 1 s (default); push_many batch {BATCH}"
    )
    persists = (
        "job row kept (state succeeded), no result value; completions are batched in memory up to 1 s, "
        "so a crash re-runs them"
    )
    done_sql = "SELECT count(*) FROM chancy_jobs WHERE state = 'succeeded'"
    prefill_sql = (
        (
            "INSERT INTO chancy_jobs(id, queue, func, kwargs, state, attempts, max_attempts, taken_by, created_at, "
            "started_at, completed_at) SELECT gen_random_uuid(), 'default', 'adapters.chancy_peer.noop', "
            "json_build_object('i', g), 'succeeded', 1, 1, 'w', now(), now(), now() FROM generate_series(1, {n}) g"
        ),
    )

    def app(self, conns=10):
        return Chancy(
            self.dsn, min_connection_pool_size=conns, max_connection_pool_size=conns, log=logging.getLogger("bench")
        )

    async def migrate(self):
        async with self.app() as c:
            await c.migrate()
            await c.declare(
                Queue("default", concurrency=CONCURRENCY, executor=Chancy.Executor.Async, eager_polling=True)
            )

    async def open(self, conns=1):
        self.c = self.app(conns)
        await self.c.__aenter__()

    async def close(self):
        await self.c.__aexit__(None, None, None)

    def job(self, i):
        return Job.from_func(noop, kwargs={"i": i})

    async def one(self, i):
        return await self.c.push(self.job(i))

    async def bulk(self, n):
        async for _ in self.c.push_many([self.job(i) for i in range(n)], batch_size=BATCH):
            pass

    async def roundtrip(self, i):
        # status only; polls every second by default
        assert (await self.c.wait_for_job(await self.one(i))).state.value == "succeeded"


async def worker():
    async with ChancyPeer().app() as c, Worker(c) as w:
        await w.wait_for_shutdown()


if __name__ == "__main__" and sys.argv[1] == "worker":
    asyncio.run(worker())
