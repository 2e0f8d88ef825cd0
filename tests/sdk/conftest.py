"""A scripted engine, an app that talks to it, and workers that are always stopped."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.sdk.peer import TOKEN, PeerEngine
from treadle import Treadle, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    WorkerFactory = Callable[..., AbstractAsyncContextManager[Worker]]


@pytest.fixture
def engine() -> Iterator[PeerEngine]:
    with PeerEngine() as peer:
        yield peer


@pytest.fixture
def app(engine: PeerEngine) -> Iterator[Treadle]:
    made = Treadle(TOKEN, engine.address)
    yield made
    made.close()


@pytest.fixture
def working(app: Treadle) -> WorkerFactory:
    """`async with working(slots=2) as worker:` runs a worker of the app on the test's loop."""

    @contextlib.asynccontextmanager
    async def start(**settings: Any) -> AsyncIterator[Worker]:
        worker = Worker(app, **settings)
        running = asyncio.create_task(worker.run())
        await asyncio.wait_for(worker.wait_ready(), 10)
        try:
            yield worker
        finally:
            await worker.stop(timedelta(seconds=0))
            await running

    return start
