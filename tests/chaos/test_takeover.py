"""Several engines on one database: any of them takes work in, and the living go on where a dead one stopped."""

import asyncio
import signal
from pathlib import Path

import asyncpg

from tests.chaos.raw import RawClient, RawWorker
from tests.support.eventually import eventually
from treadle.model.states import RunStatus
from treadle.testing.engine import EngineProcess

LONG = 30.0


async def test_a_living_engine_takes_over(database_url: str, tmp_path: Path) -> None:
    """What the owner acknowledged, the second engine finishes once the owner was killed."""
    first = EngineProcess(tmp_path / "first", database_url=database_url)
    second = EngineProcess(tmp_path / "second", database_url=database_url)
    async with first, second:
        client = RawClient(first.grpc_address, first.token)
        action = await client.put_task("inherited")
        run_ids = await client.start("inherited", *["{}"] * 20)
        await client.close()
        conn: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(database_url)
        before = await _owner(conn)
        await asyncio.to_thread(first.kill)
        # Streams that are open while a tenant changes hands end, and workers open them again: not this raw one.
        await eventually(lambda: _has_another_owner(conn, before), timeout=LONG)
        await conn.close()
        # The token is the first engine's: it is the database that knows it.
        client = RawClient(second.grpc_address, first.token)
        async with RawWorker(client, actions=[action], slots=20) as worker:
            for run_id in run_ids:
                delivery = await worker.receive(run_id)
                await worker.complete(run_id, delivery.attempt)
            ends = [await client.ended(run_id) for run_id in run_ids]
        assert {status for status, _ in ends} == {RunStatus.COMPLETED}
        await client.close()


async def test_a_worker_may_be_connected_to_any_engine(database_url: str, tmp_path: Path) -> None:
    """The owner assigns, the worker's engine delivers; clients of both engines get results."""
    async with (
        EngineProcess(tmp_path / "owner", database_url=database_url) as owner,
        EngineProcess(tmp_path / "other", database_url=database_url) as other,
    ):
        here = RawClient(owner.grpc_address, owner.token)
        there = RawClient(other.grpc_address, owner.token)
        action = await here.put_task("anywhere")
        async with RawWorker(there, actions=[action], slots=4) as worker:
            for client in (here, there):
                run_ids = await client.start("anywhere", "{}", "{}")
                for run_id in run_ids:
                    delivery = await worker.receive(run_id)
                    await worker.complete(run_id, delivery.attempt)
                for asker in (here, there):
                    assert [(await asker.ended(run_id))[0] for run_id in run_ids] == [RunStatus.COMPLETED] * 2
        await here.close()
        await there.close()


async def test_an_engine_that_slept_past_its_lease_is_refused(database_url: str, tmp_path: Path) -> None:
    """Paused with SIGSTOP until another has taken over, it cannot write on the strength of its old lease."""
    sleeper = EngineProcess(tmp_path / "sleeper", database_url=database_url)
    heir = EngineProcess(tmp_path / "heir", database_url=database_url)
    async with sleeper, heir:
        client = RawClient(sleeper.grpc_address, sleeper.token)
        action = await client.put_task("fought_over")
        conn: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(database_url)
        before = await _owner(conn)
        sleeper.signal(signal.SIGSTOP)
        try:
            await eventually(lambda: _has_another_owner(conn, before), timeout=LONG)
        finally:
            sleeper.signal(signal.SIGCONT)
        # Both believed for a moment that they own the tenant; runs that come in now run once, under the heir.
        (run_id,) = await client.start("fought_over", "{}")
        there = RawClient(heir.grpc_address, sleeper.token)
        async with RawWorker(there, actions=[action], slots=1) as worker:
            delivery = await worker.receive(run_id)
            await worker.complete(run_id, delivery.attempt)
            assert (await client.ended(run_id))[0] is RunStatus.COMPLETED
        await eventually(lambda: _stepped_down(sleeper), timeout=LONG)
        assert await _owner(conn) != before
        await conn.close()
        await there.close()
        await client.close()


async def _owner(conn: "asyncpg.Connection[asyncpg.Record]") -> tuple[str, int]:
    row = await conn.fetchrow("SELECT engine_id, epoch FROM treadle.lease")
    assert row is not None
    return str(row["engine_id"]), row["epoch"]


async def _has_another_owner(conn: "asyncpg.Connection[asyncpg.Record]", before: tuple[str, int]) -> None:
    engine, epoch = await _owner(conn)
    assert engine not in ("None", before[0])
    assert epoch > before[1]


def _stepped_down(engine: EngineProcess) -> None:
    assert "took a seat again" in engine.log_tail()
