"""Engines in processes of their own: first starts at once, stops in order and out of order."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.chaos.raw import RawClient, RawWorker
from tests.support.eventually import eventually
from treadle.model.states import RunStatus
from treadle.runtime.connection import read_connection
from treadle.storage.embedded import EmbeddedPostgres
from treadle.testing.engine import EngineProcess, EngineStartError


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="treadle-engines-"))
    folder.chmod(0o711)
    yield folder / "data"
    EmbeddedPostgres(folder / "data").stop()
    shutil.rmtree(folder)


def engine_beside(other: EngineProcess) -> EngineProcess:
    """A second engine on the same data folder, with a ready file and a log of its own."""
    second = EngineProcess(other.data_dir)
    second._ready_file = other.data_dir.parent / "second.json"
    second.log_file = other.data_dir.parent / "second.log"
    return second


async def finish(client: RawClient, action: str, run_ids: list[str]) -> None:
    async with RawWorker(client, actions=[action], slots=len(run_ids)) as worker:
        for run_id in run_ids:
            delivery = await worker.receive(run_id)
            await worker.complete(run_id, delivery.attempt)
        assert {(await client.ended(run_id))[0] for run_id in run_ids} == {RunStatus.COMPLETED}


async def test_two_first_starts_at_once_share_one_folder_and_one_database(data_dir: Path) -> None:
    first = EngineProcess(data_dir)
    second = engine_beside(first)
    try:
        await asyncio.gather(asyncio.to_thread(first.start), asyncio.to_thread(second.start))
        assert first.database_url == second.database_url
        assert first.pid != second.pid
        client, other = RawClient(first.grpc_address, first.token), RawClient(second.grpc_address, second.token)
        action = await client.put_task("shared")
        await finish(other, action, await client.start("shared", "{}"))
        # The database is in use as long as one of them runs.
        assert await asyncio.to_thread(first.terminate) == 0
        await finish(other, action, await other.start("shared", "{}"))
        await client.close()
        await other.close()
    finally:
        for engine in (first, second):
            await asyncio.to_thread(engine.close)
    with pytest.raises((OSError, asyncpg.PostgresError)):
        await asyncpg.connect(second.database_url)


async def test_a_clean_stop_hands_over_at_once_and_leaves_no_trace(database_url: str, tmp_path: Path) -> None:
    first = EngineProcess(tmp_path / "first", database_url=database_url)
    second = EngineProcess(tmp_path / "second", database_url=database_url)
    async with first, second:
        client = RawClient(first.grpc_address, first.token)
        action = await client.put_task("handed_over")
        run_ids = await client.start("handed_over", "{}", "{}")
        await client.close()
        begun = asyncio.get_running_loop().time()
        assert await asyncio.to_thread(first.terminate) == 0
        assert read_connection(first.data_dir / "ready.json") is None
        assert read_connection(first.data_dir / "connection.json") is None
        client = RawClient(second.grpc_address, first.token)
        await finish(client, action, run_ids)
        # No silence had to be waited for: an engine that stops says so.
        assert asyncio.get_running_loop().time() - begun < 10
        await client.close()
        conn = await asyncpg.connect(database_url)
        assert await conn.fetchval("SELECT count(*) FROM treadle.engine") == 1
        await conn.close()


async def test_a_killed_engine_and_its_orphaned_database_come_back_with_everything(data_dir: Path) -> None:
    engine = EngineProcess(data_dir)
    await asyncio.to_thread(engine.start)
    try:
        client = RawClient(engine.grpc_address, engine.token)
        action = await client.put_task("kept")
        run_ids = await client.start("kept", *["{}"] * 10)
        await client.close()
        pid, token = engine.pid, engine.token
        await asyncio.to_thread(engine.kill)
        await asyncio.to_thread(engine.start)
        assert engine.pid != pid
        client = RawClient(engine.grpc_address, token)
        await finish(client, action, run_ids)
        await client.close()
    finally:
        await asyncio.to_thread(engine.close)


async def test_an_interrupted_start_ends_quietly(database_url: str, tmp_path: Path) -> None:
    """SIGTERM before it is ready: the engine is where it waits for another one's migrations."""
    conn = await asyncpg.connect(database_url)
    await conn.execute("SELECT pg_advisory_lock(7283401001)")
    engine = EngineProcess(tmp_path / "engine", database_url=database_url)
    starting = asyncio.create_task(asyncio.to_thread(engine.start))

    async def waits() -> None:
        assert await conn.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == 1

    await eventually(waits, timeout=30)
    engine.signal(signal.SIGTERM)
    with pytest.raises(EngineStartError, match="code 0"):
        await starting
    await conn.close()
    assert not (tmp_path / "engine" / "ready.json").exists()
