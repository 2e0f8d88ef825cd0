import asyncio
import os
import sys

import procrastinate

from adapters.base import BATCH, PgPeer

CONCURRENCY = int(os.environ.get("PROC_CONC", "50"))


class Procrastinate(PgPeer):
    settings = (
        f"PsycopgConnector pool max 20; worker concurrency={CONCURRENCY}, LISTEN/NOTIFY on, "
        f"poll 5 s (default), delete_jobs=never (default); batch_defer_async({BATCH})"
    )
    persists = "job row kept (status succeeded) + one procrastinate_events row per status change; no result value"
    done_sql = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"
    prefill_sql = (
        (
            "INSERT INTO procrastinate_jobs(queue_name, task_name, args, status, attempts) "
            "SELECT 'default', 'noop', jsonb_build_object('i', g), 'succeeded', 1 FROM generate_series(1, {n}) g"
        ),
        # the triggers write no event for a row inserted as finished; a real job leaves these three
        (
            "INSERT INTO procrastinate_events(job_id, type) "
            "SELECT id, t::procrastinate_job_event_type FROM procrastinate_jobs, "
            "(VALUES ('deferred'), ('started'), ('succeeded')) v(t)"
        ),
    )

    def app(self, max_size=20):
        return make_app(self.dsn, max_size)[0]

    async def migrate(self):
        async with self.app().open_async() as a:
            await a.schema_manager.apply_schema_async()

    async def open(self, conns=1):
        self.a, self.task = make_app(self.dsn, conns)
        await self.a.open_async()

    async def close(self):
        await self.a.close_async()

    async def one(self, i):
        return await self.task.defer_async(i=i)

    async def bulk(self, n):
        for s in range(0, n, BATCH):
            await self.task.batch_defer_async(*({"i": i} for i in range(s, min(s + BATCH, n))))


def make_app(dsn, max_size, started=None):
    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=dsn, min_size=max_size, max_size=max_size)
    )

    @app.task(name="noop", queue="default")
    async def noop(i):
        started(i)

    return app, noop


async def worker():
    import rec

    app, _ = make_app(Procrastinate().dsn, 20, rec.started)
    async with app.open_async():
        await app.run_worker_async(concurrency=CONCURRENCY)


if __name__ == "__main__" and sys.argv[1] == "worker":
    asyncio.run(worker())
