"""Several engines on one database, in this process, with raw clients and workers at any of them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg

from tests.chaos.raw import RawClient, RawWorker
from tests.support.eventually import eventually
from treadle.server.engine import RunningEngine
from treadle.server.settings import ROLES, Settings
from treadle.server.tokens import create_token
from treadle.wire.gen.treadle.v1 import runs_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from treadle.model.states import RunStatus

LONG = 20.0


class Engines:
    """The engines of a test, by number in the order in which they started.

    Args:
        url: their database.
        folder: for what they write.
        lost_after: seconds of silence after which a worker is given up.
    """

    def __init__(self, url: str, folder: Path, *, lost_after: float) -> None:
        self.url = url
        self._lost_after = lost_after
        self._folder = folder
        self._stack = AsyncExitStack()
        self.all: list[RunningEngine] = []
        self.token = ""

    async def start(self, *, roles: Sequence[str] = ROLES) -> RunningEngine:
        """Start another engine."""
        settings = Settings(
            database_url=self.url,
            data_dir=self._folder,
            grpc_port=0,
            http_port=0,
            roles=tuple(roles),
            session_lost_after=self._lost_after,
            canary_interval=0.2,
        )
        engine = RunningEngine(settings)
        await engine.start()
        self._stack.push_async_callback(engine.stop)
        self.all.append(engine)
        self.token = self.token or engine.token
        return engine

    def client(self, engine: RunningEngine, *, token: str | None = None) -> RawClient:
        """A client of one engine. By default it belongs to the default tenant."""
        client = RawClient(engine.grpc_address, token or self.token)
        self._stack.push_async_callback(client.close)
        return client

    async def worker(self, client: RawClient, *actions: str, slots: int = 10) -> RawWorker:
        """A worker of the client's engine."""
        worker = RawWorker(client, actions=actions, slots=slots)
        await self._stack.enter_async_context(worker)
        return worker

    async def new_tenant(self, name: str) -> tuple[str, int]:
        """A tenant: a token of its, and its number."""
        settings = Settings(database_url=self.url, data_dir=self._folder)
        token = await create_token(settings, name="test", expires_in=timedelta(days=1), tenant=name)
        return token, int(await self.value("SELECT id FROM treadle.tenant WHERE name = $1", name))

    async def value(self, query: str, *args: object) -> Any:
        """The first value of a query."""
        conn = await asyncpg.connect(self.url)
        try:
            return await conn.fetchval(query, *args)
        finally:
            await conn.close()

    async def owners(self) -> dict[int, str]:
        """The address of the engine that owns each tenant; '' for one that nobody owns."""
        conn = await asyncpg.connect(self.url)
        try:
            rows = await conn.fetch(
                "SELECT t.id, coalesce(e.address, '') AS address FROM treadle.tenant t"
                " LEFT JOIN treadle.lease l ON l.tenant_id = t.id LEFT JOIN treadle.engine e ON e.id = l.engine_id"
            )
        finally:
            await conn.close()
        return {row["id"]: row["address"] for row in rows}

    async def owner(self, tenant_id: int = 1) -> RunningEngine:
        """The engine that owns a tenant, once there is one."""

        async def owned() -> RunningEngine:
            address = (await self.owners()).get(tenant_id, "")
            found = [engine for engine in self.all if engine.grpc_address == address]
            assert found, f"nobody owns tenant {tenant_id}"
            return found[0]

        return await eventually(owned, timeout=LONG)

    async def apart(self, tenant_id: int = 1) -> tuple[RunningEngine, RunningEngine]:
        """The owner of a tenant, and another engine."""
        owner = await self.owner(tenant_id)
        return owner, next(engine for engine in self.all if engine is not owner)

    def at_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Call this before the engines stop."""
        self._stack.push_async_callback(close)

    async def close(self) -> None:
        await self._stack.aclose()


@asynccontextmanager
async def running(url: str, folder: Path, count: int = 2, *, lost_after: float = 30.0) -> AsyncIterator[Engines]:
    """Some engines with all roles."""
    engines = Engines(url, folder, lost_after=lost_after)
    try:
        for _ in range(count):
            await engines.start()
        yield engines
    finally:
        await engines.close()


async def ended(client: RawClient, *run_ids: str) -> list[tuple[RunStatus, bytes]]:
    """How runs ended, in order."""
    return list(await asyncio.gather(*(client.ended(run_id) for run_id in run_ids)))


async def pushed_results(client: RawClient, *run_ids: str) -> list[runs_pb2.RunResult]:
    """What an Await stream says of these runs."""
    method: Any = client.channel.stream_stream(
        "/treadle.v1.Runs/Await",
        request_serializer=runs_pb2.AwaitRequest.SerializeToString,
        response_deserializer=runs_pb2.AwaitResponse.FromString,
    )
    call = method(metadata=client.metadata)
    await call.write(runs_pb2.AwaitRequest(run_ids=run_ids))
    results: list[runs_pb2.RunResult] = []
    async for response in call:
        results += response.results
        if len(results) >= len(run_ids):
            break
    call.cancel()
    return results
