"""Owners come and go: tenants are shared, handed over and taken over, and nobody has to wait or do anything twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING

import asyncpg
import grpc.aio
import pytest

from tests.bus.engines import LONG, Engines, ended, running
from tests.support.eventually import eventually
from treadle.bus import hints
from treadle.model.states import RunStatus
from treadle.scheduler import leases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.chaos.raw import RawClient, RawWorker
    from treadle.server.engine import RunningEngine

COMPLETED = RunStatus.COMPLETED
TENANTS = 10


@pytest.fixture
async def engines(database_url: str, tmp_path: Path) -> AsyncIterator[Engines]:
    async with running(database_url, tmp_path) as engines:
        yield engines


async def break_writer(engines: Engines, owner: RunningEngine) -> None:
    """End the connection that an engine writes with: to the others it is dead."""
    conn = await asyncpg.connect(engines.url)
    await conn.execute(
        "SELECT pg_terminate_backend(writer_pid) FROM treadle.engine WHERE address = $1", owner.grpc_address
    )
    await conn.close()


# -- one tenant --------------------------------------------------------------------------------------------------------


async def test_a_clean_stop_hands_over_at_once(engines: Engines) -> None:
    """Nobody waits for a silence, and what runs goes on as the same attempt."""
    owner, heir = await engines.apart()
    client = engines.client(heir)
    action = await client.put_task("job")
    worker = await engines.worker(client, action)
    in_hand, late = await client.start("job", "{}", "{}")
    await worker.receive(in_hand)
    await worker.receive(late)
    loop = asyncio.get_running_loop()
    stopping = loop.time()
    await owner.stop()
    stopped = loop.time()
    assert await engines.owner() is heir
    assert loop.time() - stopped < leases.HEARTBEAT
    assert stopped - stopping < leases.EXPIRY
    # The stream ends with the owner; the worker comes back with what it has in hand.
    await worker.vanish()
    await worker.connect(in_hand=[(in_hand, 1), (late, 1)])
    await worker.complete(in_hand, 1)
    await worker.complete(late, 1)
    assert [status for status, _ in await ended(client, in_hand, late)] == [COMPLETED] * 2
    events = [event.kind for event in (await client.get(in_hand)).events]
    assert not {"REASSIGNED", "HANDED_BACK"} & set(events)


async def test_a_stream_ends_when_its_tenant_changes_hands(engines: Engines) -> None:
    owner, heir = await engines.apart()
    client = engines.client(heir)
    worker = await engines.worker(client, await client.put_task("job"))
    await owner.stop()
    assert worker._reader is not None
    await asyncio.wait_for(asyncio.wait({worker._reader}), LONG)


async def test_an_owner_without_a_connection_is_replaced_and_lives_on(engines: Engines) -> None:
    """Losing the writing connection is losing the seat, at once. The engine takes another seat and goes on."""
    owner, heir = await engines.apart()
    before = await engines.value("SELECT id FROM treadle.engine WHERE address = $1", owner.grpc_address)
    client = engines.client(owner)
    await client.put_task("job")
    await break_writer(engines, owner)
    (run_id,) = await client.start("job", "{}")

    async def back() -> None:
        now = await engines.value("SELECT id FROM treadle.engine WHERE address = $1", owner.grpc_address)
        assert now not in (None, before)

    await eventually(back, timeout=LONG)
    await engines.owner()
    worker = await engines.worker(engines.client(heir), "job:job")
    await worker.receive(run_id)
    await worker.complete(run_id, 1)
    assert (await client.ended(run_id))[0] is COMPLETED


async def test_reports_outlive_a_link_that_breaks(engines: Engines) -> None:
    """Reports that were on their way are not settled; told again over the next link, they count once."""
    owner, other = await engines.apart()
    near, far = engines.client(owner), engines.client(other)
    action = await far.put_task("job")
    worker = await engines.worker(far, action, slots=50)
    run_ids = await near.start("job", *["{}"] * 50)
    for run_id in run_ids:
        await worker.receive(run_id)
    for run_id in run_ids[:25]:
        await worker.complete(run_id, 1, b'"once"')
    assert other.parts is not None
    for link in list(other.parts.router._links.values()):
        link.cancel()
    # A raw worker does what the SDK does: it comes back with everything that nobody has settled.
    assert worker._reader is not None
    await asyncio.wait_for(asyncio.wait({worker._reader}), LONG)
    settled = {a.task_id for frame in worker._frames for a in frame.settled}
    await worker.connect(in_hand=[(run_id, 1) for run_id in run_ids if run_id not in settled])
    for run_id in run_ids:
        if run_id not in settled:
            await worker.complete(run_id, 1, b'"once"')
    assert await ended(near, *run_ids) == [(COMPLETED, b'"once"')] * 50
    counts = await engines.value("SELECT max(attempt) FROM treadle.task_result")
    assert counts == 1


async def test_an_engine_that_hears_of_the_others_end_while_it_stops_stops_all_the_same(engines: Engines) -> None:
    """The hint and the end of its own heartbeats come in the same instant."""
    keeper = next(task for task in asyncio.all_tasks() if task.get_coro().__qualname__ == "Leases.run")  # type: ignore[union-attr]
    for engine in engines.all:
        assert engine.parts is not None
        engine.parts.leases.look()
    keeper.cancel()
    await asyncio.wait_for(asyncio.wait({keeper}), LONG)
    assert keeper.cancelled()


# -- hints -------------------------------------------------------------------------------------------------------------


async def test_lost_hints_cost_a_heartbeat_at_most(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is heard at all: runs stored by the other engine are picked up, and new tenants are owned."""
    monkeypatch.setattr(hints, "read_hint", lambda _payload: hints.Hint())
    async with running(database_url, tmp_path) as engines:
        owner, other = await engines.apart()
        near, far = engines.client(owner), engines.client(other)
        worker = await engines.worker(near, await far.put_task("job"))
        loop = asyncio.get_running_loop()
        for _ in range(3):
            began = loop.time()
            (run_id,) = await far.start("job", "{}")
            await worker.receive(run_id)
            assert loop.time() - began < 3 * leases.HEARTBEAT
            await worker.complete(run_id, 1)
        token, tenant_id = await engines.new_tenant("unheard")
        await engines.owner(tenant_id)
        assert await engines.client(other, token=token).put_task("job")


async def test_a_run_taken_in_elsewhere_is_given_out_at_once(engines: Engines) -> None:
    """With hints, no heartbeat is waited for."""
    owner, other = await engines.apart()
    near, far = engines.client(owner), engines.client(other)
    worker = await engines.worker(near, await far.put_task("job"), slots=20)
    loop = asyncio.get_running_loop()
    took = []
    for _ in range(10):
        began = loop.time()
        (run_id,) = await far.start("job", "{}")
        await worker.receive(run_id)
        took.append(loop.time() - began)
    assert sorted(took)[len(took) // 2] < leases.HEARTBEAT / 3


# -- many tenants ------------------------------------------------------------------------------------------------------


async def shared_by(engines: Engines, *living: RunningEngine, tenants: int = TENANTS + 1) -> None:
    """Every tenant has a living owner, and none owns more than its share."""
    share = -(-tenants // len(living))

    async def shared() -> None:
        owners = await engines.owners()
        assert len(owners) == tenants
        counts = Counter(owners.values())
        assert set(counts) == {engine.grpc_address for engine in living}, counts
        assert max(counts.values()) <= share, counts

    await eventually(shared, timeout=LONG)


@pytest.mark.parametrize("how", ["stops", "dies"])
async def test_tenants_are_shared_and_shared_again(database_url: str, tmp_path: Path, how: str) -> None:
    """Ten tenants over one, two, three engines, and over two again when one goes; work goes on in each of them."""
    async with running(database_url, tmp_path, 1) as engines:
        tokens = [(await engines.new_tenant(f"tenant {n}"))[0] for n in range(TENANTS)]
        await shared_by(engines, *engines.all)
        await engines.start()
        await shared_by(engines, *engines.all)
        await engines.start()
        await shared_by(engines, *engines.all)
        first, leaver, third = engines.all
        workers, clients = [], []
        run_ids = []
        for token in tokens:
            client = engines.client(first, token=token)
            workers.append(await engines.worker(client, await client.put_task("job"), slots=5))
            clients.append(client)
            run_ids.append(await client.start("job", "{}", "{}"))
        for worker, (one, two) in zip(workers, run_ids, strict=True):
            await worker.receive(one)
            await worker.receive(two)
        if how == "stops":
            await leaver.stop()
            await shared_by(engines, first, third)
        else:
            await break_writer(engines, leaver)
            await shared_by(engines, *engines.all)
        for worker, client, (one, two) in zip(workers, clients, run_ids, strict=True):
            await worker.vanish()
            await worker.connect(in_hand=[(one, 1), (two, 1)])
            await worker.complete(one, 1)
            await worker.complete(two, 1)
            assert [status for status, _ in await ended(client, one, two)] == [COMPLETED] * 2
        assert await engines.value("SELECT max(attempt) FROM treadle.task_result") == 1


async def test_tenants_move_while_work_goes_on(database_url: str, tmp_path: Path) -> None:
    """A new engine takes its share of tenants whose runs are under way; every run ends once, with one attempt."""
    async with running(database_url, tmp_path, 1) as engines:
        tokens = [(await engines.new_tenant(f"tenant {n}"))[0] for n in range(4)]
        (first,) = engines.all
        clients = [engines.client(first, token=token) for token in tokens]
        actions = [await client.put_task("job") for client in clients]
        stop = asyncio.Event()
        done = [asyncio.create_task(steadily(client, stop)) for client in clients]
        async with asyncio.TaskGroup() as group:
            working = [
                group.create_task(obliging_worker(engines, first, token, action))
                for token, action in zip(tokens, actions, strict=True)
            ]
            second = await engines.start()
            await shared_by(engines, first, second, tenants=5)
            stop.set()
            run_ids = await asyncio.gather(*done)
            for client, started in zip(clients, run_ids, strict=True):
                assert {status for status, _ in await ended(client, *started)} == {COMPLETED}
            for task in working:
                task.cancel()
        assert await engines.value("SELECT count(*) FROM treadle.task_result WHERE retries_used > 0") == 0


async def steadily(client: RawClient, stop: asyncio.Event) -> list[str]:
    """Start runs one after the other until told to stop, and twenty more."""
    run_ids: list[str] = []
    more = 20
    while more:
        more -= stop.is_set()
        run_ids += await client.start("job", "{}")
    return run_ids


async def obliging_worker(engines: Engines, engine: RunningEngine, token: str, action: str) -> None:
    """Complete whatever comes, and come back whenever the stream ends, with what is not settled yet."""
    worker = await engines.worker(engines.client(engine, token=token), action)
    unsettled: set[tuple[str, int]] = set()
    while True:
        seen = 0
        reader = worker._reader
        assert reader is not None
        while seen < len(worker._frames) or not reader.done():
            async with worker._arrived:
                if seen == len(worker._frames) and not reader.done():
                    await worker._arrived.wait()
                    continue
                frame = worker._frames[seen]
            seen += 1
            unsettled -= {(settled.task_id, settled.attempt) for settled in frame.settled}
            for delivery in frame.deliveries:
                unsettled.add((delivery.task_id, delivery.attempt))
                await try_complete(worker, delivery.task_id, delivery.attempt)
        with contextlib.suppress(ConnectionError):
            await worker.vanish()
            await worker.connect(in_hand=unsettled)
        for task_id, attempt in list(unsettled):
            await try_complete(worker, task_id, attempt)


async def try_complete(worker: RawWorker, task_id: str, attempt: int) -> None:
    """Report; a stream that has ended takes nothing, and the next one is told again."""
    with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError, grpc.aio.UsageError):
        await worker.complete(task_id, attempt)
