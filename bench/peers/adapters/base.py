"""What run.py needs from a peer. One subclass per peer, one file per peer."""

import asyncio
import os
import pathlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import servers

HERE = pathlib.Path(__file__).resolve().parent.parent
BATCH = 1000  # rows per call of a bulk API


class Peer:
    server = "postgres"  # whose CPU is "server CPU"
    settings = ""  # worker and client settings, in words
    persists = ""  # what a finished task leaves behind, durably
    poll = 0.0  # documented poll interval if starts are found by polling (s)
    threads = False  # the client API is synchronous: concurrent producers are threads

    async def reset(self): ...  # fresh, migrated state
    async def ready(self): ...  # what must run besides the server, once the database is in place
    async def cleanup(self): ...  # and ends here
    async def open(self, conns=1): ...  # producer side
    async def close(self): ...
    async def one(self, i): ...  # enqueue one, await its durable acknowledgement
    async def bulk(self, n): ...  # best documented bulk API
    async def roundtrip(self, i):
        raise NotImplementedError

    async def done(self):  # tasks whose completion is durably recorded (None: not stored)
        return None

    def server_cpu(self):
        return servers.cpu_seconds(self.server)

    def worker_argv(self):
        return [sys.executable, "-m", type(self).__module__, "worker"]

    def spawn_worker(self, rec, log):
        path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
        env = {**os.environ, "BENCH_REC": str(rec), "PYTHONPATH": path, **self.worker_env()}
        return subprocess.Popen(self.worker_argv(), cwd=HERE, env=env, stdout=log, stderr=log, start_new_session=True)

    def worker_env(self):
        return {}

    # concurrent enqueue, for peers whose client is synchronous
    _pool = None

    async def one_threaded(self, i, threads=32):
        if self._pool is None:
            self._pool = ThreadPoolExecutor(threads)
        await asyncio.get_running_loop().run_in_executor(self._pool, self.one_sync, i)


class PgPeer(Peer):
    db = "peers_bench"
    done_sql = ""

    @property
    def dsn(self):
        return f"{servers.PG_DSN}/{self.db}"

    async def admin(self, sql, db="postgres"):
        c = await asyncpg.connect(f"{servers.PG_DSN}/{db}")
        try:
            return await c.fetchval(sql)
        finally:
            await c.close()

    async def create_db(self, template="template0"):
        await self.admin(f"DROP DATABASE IF EXISTS {self.db} WITH (FORCE)")
        await self.admin(f"CREATE DATABASE {self.db} TEMPLATE {template}")

    async def reset(self):
        await self.create_db()
        await self.migrate()

    async def migrate(self): ...

    async def done(self):
        return await self.admin(self.done_sql, self.db)

    prefill_sql = ()  # statements with {n}: n finished rows, as the peer itself would leave them

    async def prefill(self, n):
        for sql in self.prefill_sql:
            await self.admin(sql.format(n=n), self.db)
