import asyncio
import sys
import uuid
from datetime import timedelta

import servers
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from adapters.base import Peer

TARGET = f"127.0.0.1:{servers.TEMPORAL_PORT}"


@activity.defn(name="noop")
async def noop(p: dict) -> dict:
    import rec

    rec.started(p["i"])
    return p


@workflow.defn(name="Noop")
class Noop:
    @workflow.run
    async def run(self, p: dict) -> dict:
        return await workflow.execute_activity("noop", p, start_to_close_timeout=timedelta(seconds=60))


class Temporal(Peer):
    server = "temporal"
    settings = (
        "dev server (start-dev, SQLite file: not a production backend); a workflow with one no-op activity; "
        "worker defaults (100 concurrent activities), workflow sandbox off; no bulk API: 100 concurrent start_workflow; "
        "only 2k tasks in S1 and 1k in S2, one run"
    )
    persists = "full workflow history, input and result, for the namespace's retention (1 day)"

    async def reset(self):
        await asyncio.to_thread(servers.stop, "temporal")
        for f in (servers.ROOT / "temporal").glob("*"):
            f.unlink()
        await asyncio.to_thread(servers.start, "temporal")

    async def open(self, conns=1):
        self.c = await Client.connect(TARGET)

    async def one(self, i):
        return await self.c.start_workflow("Noop", {"i": i}, id=str(uuid.uuid4()), task_queue="bench")

    async def bulk(self, n):
        async def lane(k):
            for i in range(k, n, 100):
                await self.one(i)

        await asyncio.gather(*(lane(k) for k in range(100)))

    async def done(self):
        c = await Client.connect(TARGET)
        return (await c.count_workflows("ExecutionStatus = 'Completed'")).count

    async def roundtrip(self, i):
        assert (await (await self.one(i)).result())["i"] == i


async def worker():
    c = await Client.connect(TARGET)
    async with Worker(
        c, task_queue="bench", workflows=[Noop], activities=[noop], workflow_runner=UnsandboxedWorkflowRunner()
    ):
        await asyncio.Event().wait()


if __name__ == "__main__" and sys.argv[1] == "worker":
    asyncio.run(worker())
