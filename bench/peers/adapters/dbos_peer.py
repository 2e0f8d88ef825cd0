import asyncio
import os
import subprocess
import sys
import threading
from typing import ClassVar

from adapters.base import BATCH, HERE, PgPeer

POLL = float(os.environ.get("DBOS_POLL", "1.0"))
CONC = int(os.environ.get("DBOS_CONC", "0")) or None


class Dbos(PgPeer):
    settings = (
        f"async workflow without steps; DBOSClient.enqueue_async, pool 32; queue polling {POLL} s "
        f"(default 1 s), worker_concurrency={CONC or 'unlimited (default)'}; no bulk API: "
        f"enqueue_in_transaction, {BATCH} per transaction"
    )
    persists = "workflow_status, workflow_input and workflow_output (result) rows kept"
    done_sql = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'"
    poll = POLL

    async def migrate(self):
        await asyncio.to_thread(self._migrate)

    def _migrate(self):
        subprocess.run(
            [sys.executable, "-m", "adapters.dbos_peer", "migrate"],
            cwd=HERE,
            check=True,
            env={**os.environ, "BENCH_REC": os.devnull, "PYTHONPATH": str(HERE)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    async def open(self, conns=1):
        from dbos import DBOSClient

        self.client = await asyncio.to_thread(
            lambda: DBOSClient(system_database_url=self.dsn, system_database_pool_size=max(conns, 5))
        )

    async def close(self):
        await asyncio.to_thread(self.client.destroy)

    opts: ClassVar = {"queue_name": "bench", "workflow_name": "noop"}

    async def one(self, i):
        return await self.client.enqueue_async(self.opts, {"i": i})

    async def bulk(self, n):
        import sqlalchemy as sa

        def go():
            eng = sa.create_engine(self.dsn.replace("postgresql://", "postgresql+psycopg://"))
            for s in range(0, n, BATCH):
                with eng.begin() as c:
                    for i in range(s, min(s + BATCH, n)):
                        self.client.enqueue_in_transaction(c, self.opts, {"i": i})
            eng.dispose()

        await asyncio.to_thread(go)

    async def roundtrip(self, i):
        h = await self.one(i)
        assert (await h.get_result())["i"] == i


def worker(serve):
    import rec
    from dbos import DBOS

    DBOS(
        config={
            "name": "bench",
            "system_database_url": Dbos().dsn,
            "log_level": "WARNING",
            "sys_db_pool_size": 20,
            "application_version": "1",
        }
    )

    @DBOS.workflow(name="noop")
    async def noop(p):
        rec.started(p["i"])
        return p

    DBOS.launch()
    DBOS.register_queue("bench", polling_interval_sec=POLL, worker_concurrency=CONC)
    if serve:
        threading.Event().wait()
    DBOS.destroy()


class DbosFast(Dbos):
    settings = Dbos.settings.replace(f"polling {POLL} s", "polling 0.1 s")
    poll = 0.1

    def worker_env(self):
        return {"DBOS_POLL": "0.1"}


if __name__ == "__main__":
    worker(sys.argv[1] == "worker")
