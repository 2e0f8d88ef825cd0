"""Calls while the connection breaks: what is repeated, what is not, and what waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.support.eventually import eventually
from treadle import ConnectionProblem, NotFound, Treadle
from treadle.sdk.context import Context, running
from treadle.wire.gen.treadle.v1 import runs_pb2

if TYPE_CHECKING:
    from tests.sdk.peer import PeerEngine

START = "/treadle.v1.Runs/Start"


async def test_calls_at_the_same_time_share_a_request(app: Treadle, engine: PeerEngine) -> None:
    job = app.remote("job")
    engine.hold_starts = asyncio.Event()
    waiting = [asyncio.create_task(job.start(n=n)) for n in range(1500)]
    await eventually(lambda: _assert(len(engine.start_requests) == 2))
    more = [asyncio.create_task(job.start(n=n)) for n in range(500)]
    engine.do(engine.hold_starts.set)
    runs = await asyncio.gather(*waiting, *more)
    assert len({run.id for run in runs}) == 2000
    # Two were under way, so the rest had to wait, and left together.
    assert 3 <= len(engine.start_requests) <= 5
    assert max(len(request.runs) for request in engine.start_requests) <= 1000


async def test_one_bad_start_does_not_hurt_its_neighbours(app: Treadle) -> None:
    calls = [app.remote(name).start() for name in ("job", "unknown", "job")]
    good, bad, also_good = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(bad, NotFound)
    assert not isinstance(good, BaseException)
    assert not isinstance(also_good, BaseException)


async def test_a_start_whose_answer_is_lost_is_not_repeated(app: Treadle, engine: PeerEngine) -> None:
    await app.remote("job").start()
    engine.abort_next[START] = [(grpc.StatusCode.UNAVAILABLE, "Socket closed")]
    with pytest.raises(ConnectionProblem, match="may or may not") as caught:
        await app.remote("job").start()
    assert caught.value.mistake == "lost"
    await app.remote("job").start()


async def test_a_child_start_is_repeated_as_it_finds_the_same_child(app: Treadle, engine: PeerEngine) -> None:
    parent = Context.fake("parent")
    running.set(parent)
    engine.abort_next[START] = [(grpc.StatusCode.UNAVAILABLE, "Socket closed")]
    run = await app.remote("job").start()
    new = engine.runs[run.id].new
    assert (new.parent_task_id, new.child_index) == (parent.task_id, 0)


async def test_starts_wait_for_an_engine_that_restarts(app: Treadle, engine: PeerEngine) -> None:
    await app.remote("job").start()
    await asyncio.to_thread(engine.down)
    late = asyncio.create_task(app.remote("job").start())
    await asyncio.to_thread(engine.up)
    assert (await late).id in engine.runs


async def test_results_are_asked_for_again_after_a_break(app: Treadle, engine: PeerEngine) -> None:
    job = app.remote("job", returns=int)
    runs = await job.start_many([{}, {}, {}])
    waits = [asyncio.create_task(run.result()) for run in runs]
    await eventually(lambda: _assert(all(run.waiters for run in engine.runs.values())))
    await asyncio.to_thread(engine.down)
    for number, run in enumerate(runs):
        engine.do(lambda run=run, number=number: _finish(engine, run.id, number))  # type: ignore[misc] # a loop variable
    await asyncio.to_thread(engine.up)
    assert await asyncio.gather(*waits) == [0, 1, 2]


async def test_a_given_up_wait_is_forgotten(app: Treadle, engine: PeerEngine) -> None:
    run = await app.remote("job").start()
    first = asyncio.create_task(run.result())
    second = asyncio.create_task(run.result())
    await eventually(lambda: _assert(bool(engine.runs[run.id].waiters)))
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    engine.do(lambda: _finish(engine, run.id, 5))
    assert await second == 5


async def test_closing_ends_the_waits(app: Treadle, engine: PeerEngine) -> None:
    run = await app.remote("job").start()
    wait = asyncio.create_task(run.result())
    await eventually(lambda: _assert(bool(engine.runs[run.id].waiters)))
    await asyncio.to_thread(app.close)
    with pytest.raises(ConnectionProblem, match="closed"):
        await wait


async def test_a_refused_token_ends_the_waits(app: Treadle, engine: PeerEngine) -> None:
    run = await app.remote("job").start()
    engine.abort_next["/treadle.v1.Runs/Await"] = [(grpc.StatusCode.UNAUTHENTICATED, "token: revoked")]
    with pytest.raises(ConnectionProblem, match="revoked"):
        await run.result()


def _finish(engine: PeerEngine, run_id: str, value: int) -> None:
    engine.end_run(engine.runs[run_id], runs_pb2.RUN_STATUS_COMPLETED, output=str(value).encode())


def _assert(condition: bool) -> None:
    assert condition
