"""Treadle itself: an engine on the same database server as the peers, its own SDK, its own worker command."""

import asyncio
import os
import sys

import psutil
import servers

from adapters.base import PgPeer
from treadle import Treadle
from treadle.cli.bench.seed import insert_finished_runs
from treadle.sdk.worker.registration import register
from treadle.server.process import EngineProcess

SLOTS = int(os.environ.get("TREADLE_SLOTS", "1000"))


def make_app(started=None, env=None):
    env = env or {}
    app = Treadle(env.get("TREADLE_TOKEN"), env.get("TREADLE_URL"))

    @app.task(name="noop")
    async def noop(i: int) -> int:
        if started is not None:
            started(i)
        return i

    return app


class TreadlePeer(PgPeer):
    settings = (
        f"one engine (`treadle serve`), `treadle worker --slots {SLOTS}` for each worker process; defaults otherwise; "
        "start_many, which sends 1000 a request"
    )
    persists = "task row with input, result row with output, and history events kept"
    done_sql = "SELECT count(*) FROM treadle.task_result"
    engine = None

    async def reset(self):
        await self.create_db()
        await self.ready()

    async def create_db(self, template="template0"):
        await self.cleanup()
        await super().create_db(template)

    async def ready(self):
        """Start the engine on the database as it is, and tell it the task, as a worker would."""
        self.engine = EngineProcess(servers.RUN / "treadle", database_url=self.dsn)
        await asyncio.to_thread(self.engine.start)
        app = make_app(env=self.engine.client_env)
        gateway = app.gateway
        await gateway.call("register", lambda: register(gateway, app.tasks.values()), lambda _: None)
        await asyncio.to_thread(app.close)

    async def cleanup(self):
        if self.engine is not None:
            await asyncio.to_thread(self.engine.close)
        self.engine = None

    async def open(self, conns=1):
        self.app = make_app(env=self.engine.client_env)
        self.task = self.app.tasks["noop"]

    async def close(self):
        await asyncio.to_thread(self.app.close)

    async def one(self, i):
        return await self.task.start(i=i)

    async def bulk(self, n):
        await self.task.start_many({"i": i} for i in range(n))

    async def roundtrip(self, i):
        assert await self.task.run(i=i) == i

    async def prefill(self, n):
        """One real run is the model of the others."""
        log = (servers.RUN / "prefill.log").open("wb")
        worker = self.spawn_worker(os.devnull, log)
        try:
            await self.open()
            await self.roundtrip(0)
            await self.close()
        finally:
            worker.terminate()
            worker.wait(15)
        await self.cleanup()
        await asyncio.to_thread(insert_finished_runs, self.dsn, n - 1)

    def server_cpu(self):
        process = psutil.Process(self.engine.pid)
        return super().server_cpu() + sum(process.cpu_times()[:2])

    def worker_env(self):
        return self.engine.client_env

    def worker_argv(self):
        return [sys.executable, "-m", "treadle.cli", "worker", "adapters.treadle_peer:app", "--slots", str(SLOTS)]


if "BENCH_REC" in os.environ and "TREADLE_TOKEN" in os.environ:  # in a worker
    import rec

    app = make_app(rec.started)
