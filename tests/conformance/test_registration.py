"""A worker with very many workflows, of every kind there is."""

import time

import asyncpg
import grpc
import pytest

from tests.conformance.harness import Lab
from tests.conformance.workers import everything

EVERYTHING = "tests.conformance.workers.everything"
NAMESPACE = "everything_"


async def count(lab: Lab, query: str) -> int:
    connection = await asyncpg.connect(lab.engine.database_url)
    try:
        number: int = await connection.fetchval(query, NAMESPACE)
        return number
    finally:
        await connection.close()


async def workflows_stored(lab: Lab) -> int:
    return await count(lab, "SELECT count(*) FROM treadle.workflow WHERE starts_with(name, $1)")


async def versions_stored(lab: Lab) -> int:
    return await count(
        lab,
        """SELECT count(*) FROM treadle.workflow_version v
           JOIN treadle.workflow w ON w.tenant_id = v.tenant_id AND w.id = v.workflow_id
           WHERE starts_with(w.name, $1)""",
    )


@pytest.mark.timeout(120)
async def test_a_worker_with_120_workflows_of_every_kind_gets_ready(lab: Lab) -> None:
    """Twice: the second start brings the same definitions, and makes no new versions of them."""
    ping = lab.hatchet(NAMESPACE).stubs.task(name=everything.PING)
    for _ in range(2):
        begin = time.monotonic()
        with lab.worker(EVERYTHING, namespace=NAMESPACE) as worker:
            registered = time.monotonic()
            await ping.aio_run()
            done = time.monotonic()
            assert worker.exit_code() is None
        print(  # noqa: T201 - a figure to read, not to assert: it depends on the machine
            f"\n120 workflows registered {registered - begin:.1f} s after the start of the process,"
            f" first task done after {done - begin:.1f} s"
        )

        assert await workflows_stored(lab) == everything.WORKFLOWS
        assert await versions_stored(lab) == everything.WORKFLOWS


async def test_what_cannot_run_yet_says_so_when_it_is_started(lab: Lab) -> None:
    with lab.worker(EVERYTHING, namespace=NAMESPACE):
        stub = lab.hatchet(NAMESPACE).stubs.workflow(name="durable-1")

        with pytest.raises(grpc.RpcError) as refused:
            await stub.aio_run()

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "a durable task" in (refused.value.details() or "")
