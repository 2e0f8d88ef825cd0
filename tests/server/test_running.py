"""An engine in this process: what it opens it closes, whatever happens in between."""

import asyncio
import os
import shutil
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import grpc
import grpc.aio
import pytest

from tests.chaos.raw import RawClient, RawWorker
from tests.support.eventually import eventually
from treadle.model.errors import Unavailable
from treadle.model.states import RunStatus
from treadle.server.boot import RunningEngine
from treadle.server.settings import Settings
from treadle.storage.embedded import EmbeddedPostgres


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder that the embedded server's own user can pass through."""
    folder = Path(tempfile.mkdtemp(prefix="treadle-engine-"))
    folder.chmod(0o711)
    yield folder / "data"
    EmbeddedPostgres(folder / "data").stop()
    shutil.rmtree(folder)


def settings(database_url: str | None, data_dir: Path, *, grpc_port: int = 0, http_port: int = 0) -> Settings:
    return Settings(database_url=database_url, data_dir=data_dir, grpc_port=grpc_port, http_port=http_port)


async def value(url: str, query: str) -> object:
    conn = await asyncpg.connect(url)
    try:
        return await conn.fetchval(query)
    finally:
        await conn.close()


CONNECTIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


async def check_nothing_is_left(url: str, tasks: set["asyncio.Task[object]"]) -> None:
    async def no_connection() -> None:
        assert await value(url, CONNECTIONS) == 0

    await eventually(no_connection)
    assert await value(url, "SELECT count(*) FROM treadle.engine") == 0
    await eventually(lambda: none_but(tasks))


def none_but(tasks: set["asyncio.Task[object]"]) -> None:
    assert {task for task in asyncio.all_tasks() if not task.done()} <= tasks


def answers(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as problem:
        return problem.code


async def run_one(engine: RunningEngine, token: str | None = None) -> None:
    """A whole job through an engine."""
    client = RawClient(engine.grpc_address, token or engine.token)
    action = await client.put_task("job")
    async with RawWorker(client, actions=[action]) as worker:
        [run_id] = await client.start("job", "{}")
        delivery = await worker.receive(run_id)
        await worker.complete(run_id, delivery.attempt, b'"done"')
        assert await client.ended(run_id) == (RunStatus.COMPLETED, b'"done"')
    await client.close()


async def test_an_engine_on_a_given_database_works_and_leaves_nothing_behind(database_url: str, tmp_path: Path) -> None:
    tasks: set[asyncio.Task[object]] = set(asyncio.all_tasks())
    async with RunningEngine(settings(database_url, tmp_path)) as engine:
        assert engine.database_url == database_url
        assert await asyncio.to_thread(answers, engine.http_url + "/api/ready") == 200
        await run_one(engine)
    # With a database of somebody else's there is nothing to keep in the data folder.
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - Path has no way that is not thought to block
    await check_nothing_is_left(database_url, tasks)
    host, port = engine.grpc_address.split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)
    with pytest.raises(urllib.error.URLError):
        await asyncio.to_thread(answers, engine.http_url + "/api/live")


async def test_the_next_engine_goes_on_where_the_first_stopped(database_url: str, tmp_path: Path) -> None:
    async with RunningEngine(settings(database_url, tmp_path)) as first:
        client = RawClient(first.grpc_address, first.token)
        action = await client.put_task("job")
        worker = await RawWorker(client, actions=[action], slots=1).connect()
        running, queued = await client.start("job", "{}", "{}")
        await worker.receive(running)
        await worker.vanish()
        await client.close()
    async with RunningEngine(settings(database_url, tmp_path)) as second:
        client = RawClient(second.grpc_address, first.token)
        again = RawWorker(client, actions=[action], slots=1)
        again.worker_id = worker.worker_id
        await again.connect(in_hand=[(running, 1)])
        await again.complete(running, 1)
        delivery = await again.receive(queued)
        await again.complete(queued, delivery.attempt)
        assert [(await client.ended(run_id))[0] for run_id in (running, queued)] == [RunStatus.COMPLETED] * 2
        await again.vanish()
        await client.close()


async def test_an_engine_without_a_database_brings_its_own_and_takes_it_down(data_dir: Path) -> None:
    async with RunningEngine(settings(None, data_dir)) as engine:
        await run_one(engine)
        token = engine.token
        url = engine.database_url
    with pytest.raises((OSError, asyncpg.PostgresError)):
        await asyncpg.connect(url)
    async with RunningEngine(settings(None, data_dir)) as engine:
        assert await value(engine.database_url, "SELECT count(*) FROM treadle.task_result") == 1
        await run_one(engine, token)


async def test_a_taken_port_is_said_and_nothing_stays_open(database_url: str, tmp_path: Path) -> None:
    tasks: set[asyncio.Task[object]] = set(asyncio.all_tasks())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for wanted in (
            settings(database_url, tmp_path, grpc_port=port),
            settings(database_url, tmp_path, http_port=port),
        ):
            with pytest.raises(Unavailable, match=str(port)):
                await RunningEngine(wanted).start()
            await check_nothing_is_left(database_url, tasks)


async def test_a_database_out_of_reach_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="database"):
        await RunningEngine(settings("postgresql://nobody@127.0.0.1:1/none", tmp_path)).start()


async def test_the_end_of_a_part_is_the_end_of_the_engine(database_url: str, tmp_path: Path) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async with RunningEngine(settings(database_url, tmp_path)) as engine:
        task = engine._spawn("a part", fail())
        await asyncio.wait({task})
        await asyncio.wait_for(engine.broken.wait(), 5)
        assert isinstance(engine.error, ZeroDivisionError)


async def test_stopping_does_not_wait_for_streams_that_clients_keep_open(database_url: str, tmp_path: Path) -> None:
    async with RunningEngine(settings(database_url, tmp_path)) as engine:
        client = RawClient(engine.grpc_address, engine.token)
        worker = await RawWorker(client, actions=["none:none"]).connect()
        begun = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - begun < 3
    await worker.vanish()
    await client.close()


async def test_an_engine_whose_connections_all_end_goes_on(database_url: str, tmp_path: Path) -> None:
    async with RunningEngine(settings(database_url, tmp_path)) as engine:
        await run_one(engine)
        conn = await asyncpg.connect(engine.database_url)
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND datname = current_database()"
        )
        await conn.close()

        async def answered() -> None:
            # Calls that meet a connection which has just ended are told to come again.
            client = RawClient(engine.grpc_address, engine.token)
            try:
                await client.put_task("job")
            except grpc.aio.AioRpcError as problem:
                if problem.code() is grpc.StatusCode.UNAVAILABLE:
                    raise AssertionError from problem
                raise
            finally:
                await client.close()

        await eventually(answered)
        await run_one(engine)
        assert not engine.broken.is_set()
