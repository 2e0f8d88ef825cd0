"""Two engines on one database: one works, the other waits, and goes on where the first was killed."""

import asyncio
from pathlib import Path

from tests.chaos.raw import RawClient, RawWorker
from tests.support.eventually import eventually
from treadle.model.states import RunStatus
from treadle.testing.engine import EngineProcess

LONG = 30.0


async def test_a_waiting_engine_takes_over(database_url: str, tmp_path: Path) -> None:
    """What the first engine acknowledged, the second one finishes; while the first lives, the second is not ready."""
    first = EngineProcess(tmp_path / "first", database_url=database_url)
    second = EngineProcess(tmp_path / "second", database_url=database_url)
    async with first:
        client = RawClient(first.grpc_address, first.token)
        action = await client.put_task("inherited")
        run_ids = await client.start("inherited", *["{}"] * 20)
        await client.close()
        starting = asyncio.create_task(asyncio.to_thread(second.start))
        await eventually(lambda: _stands_by(second), timeout=LONG)
        assert not starting.done()
        await asyncio.to_thread(first.kill)
        await starting
    try:
        # The token is the first engine's: it is the database that knows it.
        client = RawClient(second.grpc_address, first.token)
        async with RawWorker(client, actions=[action], slots=20) as worker:
            for run_id in run_ids:
                delivery = await worker.receive(run_id)
                await worker.complete(run_id, delivery.attempt)
            ends = [await client.ended(run_id) for run_id in run_ids]
        assert {status for status, _ in ends} == {RunStatus.COMPLETED}
        await client.close()
    finally:
        await asyncio.to_thread(second.close)


def _stands_by(engine: EngineProcess) -> None:
    assert "standing by" in engine.log_tail()
