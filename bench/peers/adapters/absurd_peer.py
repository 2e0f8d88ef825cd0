import asyncio
import os
import sys

from absurd_sdk import AsyncAbsurd

from adapters.base import PgPeer

CONC = int(os.environ.get("ABSURD_CONC", "100"))


class AbsurdPeer(PgPeer):
    settings = (
        f"AsyncAbsurd worker concurrency={CONC} (batch = concurrency), poll 0.25 s (default), one connection; "
        "no bulk API: spawn() from 8 connections"
    )
    persists = "task row + run row kept (state completed, result)"
    done_sql = "SELECT count(*) FROM absurd.t_default WHERE state = 'completed'"
    poll = 0.25

    async def migrate(self):
        import psycopg
        from absurdctl import BUNDLED_SCHEMA_SQL

        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as c:
            await c.execute(BUNDLED_SCHEMA_SQL)
        a = AsyncAbsurd(self.dsn)
        await a.create_queue("default")
        await a.close()

    async def open(self, conns=1):
        self.cs = [AsyncAbsurd(self.dsn) for _ in range(conns)]
        for c in self.cs:
            await c.list_queues()

    async def close(self):
        for c in self.cs:
            await c.close()

    async def one(self, i):
        return await self.cs[i % len(self.cs)].spawn("noop", {"i": i}, queue="default")

    async def bulk(self, n):
        await self.close()
        await self.open(8)

        async def lane(k):
            for i in range(k, n, 8):
                await self.cs[k].spawn("noop", {"i": i}, queue="default")

        await asyncio.gather(*(lane(k) for k in range(8)))

    async def roundtrip(self, i):
        t = await self.one(i)
        r = await self.cs[0].await_task_result(t["task_id"])
        assert r.state == "completed"


async def worker():
    import rec

    app = AsyncAbsurd(AbsurdPeer().dsn)

    @app.register_task(name="noop")
    async def noop(params, ctx):
        rec.started(params["i"])
        return params

    await app.start_worker(concurrency=CONC)


if __name__ == "__main__" and sys.argv[1] == "worker":
    asyncio.run(worker())
