"""An engine, a client of its first tenant, and a stranger: the same for a second tenant."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from tests.wire_edge.raw import RawClient
from tests.wire_edge.tenants import add_tenant, token_for
from treadle.testing.engine import EngineProcess
from treadle.wire.claims import read_claims


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    with EngineProcess(tmp_path_factory.mktemp("wire-edge")) as process:
        yield process


@pytest.fixture(scope="session")
def tenant(engine: EngineProcess) -> str:
    """The id of the tenant that the engine's own token is for."""
    return read_claims(engine.token).tenant_id


@pytest.fixture(scope="session")
def strange_token(engine: EngineProcess) -> str:
    """A good token of a second tenant."""

    async def issue() -> str:
        return await token_for(engine, await add_tenant(engine))

    return asyncio.run(issue())


@pytest.fixture
async def raw(engine: EngineProcess) -> AsyncIterator[RawClient]:
    async with RawClient(engine.grpc_address, engine.token) as client:
        yield client


@pytest.fixture
async def stranger(engine: EngineProcess, strange_token: str) -> AsyncIterator[RawClient]:
    async with RawClient(engine.grpc_address, strange_token) as client:
        yield client


@pytest.fixture
async def task_name(raw: RawClient) -> str:
    """A registered workflow of one task that no worker offers to run: its runs stay queued."""
    name = f"edge-{uuid4().hex}"
    await raw.register_workflow(name)
    return name
