"""The SDK against a real engine with its database: what the scripted one cannot promise."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from treadle import Backoff, Context, NonRetryable, NotFound, RunStatus, TaskCancelled, TaskFailed, Treadle, Worker
from treadle.testing.engine import EngineProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def real_engine(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    from tests.support.databases import new_database

    with (
        new_database(postgres_url) as url,
        EngineProcess(tmp_path_factory.mktemp("engine"), database_url=url) as engine,
    ):
        yield engine


class Shop:
    """An app with tasks, and what they have seen."""

    def __init__(self, engine: EngineProcess) -> None:  # noqa: C901 - many small functions, not a complex one
        self.app = app = Treadle(engine.token, engine.grpc_address)
        self.gate = asyncio.Event()
        self.inside = asyncio.Event()
        self.attempts: list[tuple[int, int]] = []
        self.reasons: list[str | None] = []

        @app.task
        async def add(a: int, b: int = 1) -> int:
            return a + b

        @app.task
        def triple(n: int) -> int:
            return 3 * n

        @app.task(retries=2, backoff=Backoff(factor=1.0, max=timedelta(seconds=1)))
        async def third_time(ctx: Context) -> int:
            self.attempts.append((ctx.attempt, ctx.retry_count))
            if ctx.retry_count < 2:
                raise ValueError(f"try {ctx.attempt}")
            return ctx.attempt

        @app.task(retries=5)
        async def hopeless() -> None:
            raise NonRetryable("no")

        @app.task
        async def family(ctx: Context, n: int) -> list[int]:
            ctx.log("fanning out", n=n)
            return await add.run_many({"a": i, "b": i} for i in range(n))

        @app.task
        async def patient(ctx: Context) -> str:
            self.inside.set()
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.reasons.append(ctx.cancel_reason)
                raise
            return "patience"

        @app.task(timeout=timedelta(milliseconds=300))
        async def slow(ctx: Context) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                self.reasons.append(ctx.cancel_reason)

        @app.task(timeout=timedelta(milliseconds=500))
        async def refreshed(ctx: Context) -> bool:
            until = await ctx.refresh_timeout(timedelta(seconds=30))
            await ctx.release_slot()
            await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.8)
            return until.year >= 2026

        self.add, self.triple, self.third_time, self.hopeless = add, triple, third_time, hopeless
        self.family, self.patient, self.slow, self.refreshed = family, patient, slow, refreshed


@pytest.fixture
async def shop(real_engine: EngineProcess) -> AsyncIterator[Shop]:
    made = Shop(real_engine)
    worker = Worker(made.app, slots=20)
    running = asyncio.create_task(worker.run())
    await asyncio.wait_for(worker.wait_ready(), 20)
    yield made
    made.gate.set()
    await worker.stop()
    await running
    await asyncio.to_thread(made.app.close)


async def test_results_of_every_kind_of_call(shop: Shop) -> None:
    assert await shop.add.run(2) == 3
    assert await shop.add.run(a=2, b=5) == 7
    assert await asyncio.to_thread(lambda: shop.triple.run(5).wait(20)) == 15
    run = await shop.add.start(4)
    assert await run.result() == 5
    assert await run.status() is RunStatus.COMPLETED
    assert await run.cancel() is False
    assert await shop.app.attach(run.id, returns=int).result() == 5


async def test_many(shop: Shop) -> None:
    results = await shop.add.run_many({"a": n, "b": n} for n in range(1500))
    assert results == [2 * n for n in range(1500)]
    assert await asyncio.gather(*(shop.add.run(n) for n in range(300))) == [n + 1 for n in range(300)]


async def test_retries_count_up_and_attempts_too(shop: Shop) -> None:
    assert await shop.third_time.run() == 3
    assert shop.attempts == [(1, 0), (2, 1), (3, 2)]


async def test_failures(shop: Shop) -> None:
    with pytest.raises(TaskFailed, match="NonRetryable: no"):
        await shop.hopeless.run()
    with pytest.raises(NotFound):
        await shop.app.remote("never-heard-of").run()
    with pytest.raises(NotFound):
        await shop.app.attach("01900000-0000-7000-8000-000000000000").result()


async def test_children_are_linked_to_their_parent(shop: Shop) -> None:
    run = await shop.family.start(5)
    assert await run.result() == [0, 2, 4, 6, 8]
    from treadle.wire.gen.treadle.v1 import runs_pb2

    gateway = shop.app.gateway
    listed = await gateway.call(
        "list",
        lambda: gateway.unary("/treadle.v1.Runs/List", runs_pb2.ListRunsRequest(parent_id=run.id), repeatable=True),
        lambda answer: answer,
    )
    assert {found.parent_id for found in listed.runs} == {run.id}
    assert len(listed.runs) == 5

    async def logged() -> None:
        detail = await gateway.call("get", lambda: gateway.get_run(run.id), lambda answer: answer)
        assert [line.message for line in detail.logs] == ["fanning out"]

    await eventually(logged)


async def test_cancelling_interrupts_the_code(shop: Shop) -> None:
    run = await shop.patient.start()
    await asyncio.wait_for(shop.inside.wait(), 20)
    assert await run.cancel() is True
    with pytest.raises(TaskCancelled):
        await run.result()
    await eventually(lambda: _assert(shop.reasons == ["cancelled"]))


async def test_timeouts_interrupt_the_code(shop: Shop) -> None:
    with pytest.raises(TaskFailed, match=r"(?i)timeout"):
        await shop.slow.run()
    await eventually(lambda: _assert(shop.reasons == ["timed out"]))


async def test_more_time_can_be_had(shop: Shop) -> None:
    assert await shop.refreshed.run() is True


async def test_a_worker_that_stops_hands_back_without_spending_an_attempt(
    real_engine: EngineProcess, shop: Shop
) -> None:
    run = await shop.patient.start()
    await asyncio.wait_for(shop.inside.wait(), 20)
    other = Shop(real_engine)
    other.gate.set()
    helper = Worker(other.app, slots=5)
    running = asyncio.create_task(helper.run())
    await helper.wait_ready()
    more = [await shop.patient.start() for _ in range(3)]
    shop.gate.set()
    assert await asyncio.gather(run.result(), *(m.result() for m in more)) == ["patience"] * 4
    await helper.stop(timedelta(0))
    await running
    await asyncio.to_thread(other.app.close)


async def test_an_engine_restart_loses_nothing(postgres_url: str, tmp_path: Path) -> None:
    from tests.support.databases import new_database

    with new_database(postgres_url) as url, EngineProcess(tmp_path / "engine", database_url=url) as engine:
        shop = Shop(engine)
        worker = Worker(shop.app, slots=10)
        running = asyncio.create_task(worker.run())
        await worker.wait_ready()
        waiting = await shop.patient.start()
        await asyncio.wait_for(shop.inside.wait(), 20)
        queued = await shop.add.start_many({"a": n} for n in range(200))
        await asyncio.to_thread(engine.kill)
        shop.gate.set()
        results = [asyncio.ensure_future(run.result()) for run in queued]
        await asyncio.to_thread(engine.start)
        assert await waiting.result() == "patience"
        assert await asyncio.gather(*results) == [n + 1 for n in range(200)]
        await worker.stop()
        await running
        await asyncio.to_thread(shop.app.close)


def _assert(condition: bool) -> None:
    assert condition
