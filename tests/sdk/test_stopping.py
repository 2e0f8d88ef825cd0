"""How a worker stops: what runs may finish, the rest goes back, and no attempt is spent."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually, eventually_sync
from treadle import ConnectionProblem, Context, Treadle, Worker
from treadle.wire.gen.treadle.v1 import runs_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sdk.peer import PeerEngine
    from tests.sdk.peer_state import PeerRun, PeerSession


@contextlib.contextmanager
def worker_process(engine: PeerEngine, grace: float) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.sdk.worker_process", engine.address, str(grace)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def started(engine: PeerEngine, app: Treadle, task: str, **inputs: object) -> tuple[PeerRun, PeerSession]:
    """Start a run, and wait until its code runs."""
    run = engine.runs[app.remote(task).start(**inputs).wait(20).id]

    def logged() -> PeerSession:
        for session in engine.sessions:
            if any(line.task_id == run.id for frame in session.frames for line in frame.logs):
                return session
        raise AssertionError("not yet")

    return run, eventually_sync(logged, timeout=20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_tasks_finish_after_a_signal(engine: PeerEngine, app: Treadle, number: int) -> None:
    with worker_process(engine, 30) as process:
        run, session = started(engine, app, "obedient", seconds=0.3)
        process.send_signal(number)
        assert process.wait(20) == 0
        assert session.half_closed
    assert run.output == b'"done"'


def test_what_does_not_finish_in_time_goes_back(engine: PeerEngine, app: Treadle) -> None:
    with worker_process(engine, 0.1) as process:
        obedient, session = started(engine, app, "obedient", seconds=600)
        stubborn, _ = started(engine, app, "stubborn")
        process.send_signal(signal.SIGTERM)
        eventually_sync(lambda: _assert(session.draining))
        late = engine.runs[app.remote("obedient").start(seconds=0).wait(20).id]
        assert process.wait(20) == 0
    for run in (obedient, stubborn):
        assert (run.status, run.attempt, run.retries_used) == (runs_pb2.RUN_STATUS_QUEUED, 2, 0)
        assert not run.failures
    assert (late.status, late.attempt) == (runs_pb2.RUN_STATUS_QUEUED, 1)
    assert [attempt.task_id for frame in session.frames for attempt in frame.handed_back] == [obedient.id, stubborn.id]


def test_a_second_signal_hands_back_at_once(engine: PeerEngine, app: Treadle) -> None:
    with worker_process(engine, 600) as process:
        run, session = started(engine, app, "stubborn")
        process.send_signal(signal.SIGTERM)
        eventually_sync(lambda: _assert(session.draining))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert (run.status, run.attempt) == (runs_pb2.RUN_STATUS_QUEUED, 2)


def test_a_task_that_blocks_the_loop_cannot_hold_the_process(engine: PeerEngine, app: Treadle) -> None:
    with worker_process(engine, 0.1) as process:
        run, _ = started(engine, app, "blocking")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1
    assert (run.status, run.attempt) == (runs_pb2.RUN_STATUS_QUEUED, 2)


async def test_a_delivery_that_crosses_the_drain_goes_back(engine: PeerEngine, app: Treadle) -> None:
    go = asyncio.Event()
    calls: list[int] = []

    @app.task
    async def job(n: int) -> int:
        calls.append(n)
        await go.wait()
        return n

    worker = Worker(app)
    running = asyncio.create_task(worker.run())
    await worker.wait_ready()
    first = await job.start(1)
    await eventually(lambda: _assert(calls == [1]))
    (session,) = engine.sessions
    stopping = asyncio.create_task(worker.stop(timedelta(seconds=30)))
    await eventually(lambda: _assert(session.draining))
    crossing = await job.start(2)
    engine.do(lambda: _deliver(engine, session, engine.runs[crossing.id]))
    await eventually(lambda: _assert([a.task_id for f in session.frames for a in f.handed_back] == [crossing.id]))
    go.set()
    assert await first.result() == 1
    await stopping
    await running
    assert calls == [1]


async def test_a_report_that_the_engine_never_settles_does_not_hold_up_the_end(
    engine: PeerEngine, app: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.sdk.worker.worker._SETTLE_SECONDS", 0.1)

    @app.task
    async def job() -> None: ...

    worker = Worker(app)
    running = asyncio.create_task(worker.run())
    await worker.wait_ready()
    engine.settle = False
    await job.run()
    await worker.stop()
    await running


async def test_cancelling_the_worker_hands_its_tasks_back(engine: PeerEngine, app: Treadle) -> None:
    seen: list[str | None] = []
    inside = asyncio.Event()

    @app.task
    async def job(ctx: Context) -> None:
        inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(ctx.cancel_reason)

    worker = Worker(app)
    running = asyncio.create_task(worker.run())
    await worker.wait_ready()
    run = await job.start()
    await inside.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert seen == ["shutting down"]
    assert engine.runs[run.id].attempt == 2


async def test_a_worker_told_to_stop_before_it_starts_ends_at_once(engine: PeerEngine, app: Treadle) -> None:
    @app.task
    async def job() -> None: ...

    worker = Worker(app)
    worker.request_stop()
    await asyncio.wait_for(worker.run(), 20)
    assert not engine.sessions


async def test_waiting_for_a_worker_that_fails_ends_too(engine: PeerEngine) -> None:
    app = Treadle("stolen", engine.address)

    @app.task
    async def job() -> None: ...

    worker = Worker(app)
    running = asyncio.create_task(worker.run())
    with pytest.raises(RuntimeError, match="before the engine had welcomed it"):
        await worker.wait_ready()
    with pytest.raises(ConnectionProblem):
        await running
    await asyncio.to_thread(app.close)


async def test_a_worker_stops_while_the_engine_is_away(
    engine: PeerEngine, app: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.sdk.worker.worker._CLOSE_SECONDS", 0.2)

    @app.task
    async def job() -> None: ...

    worker = Worker(app)
    running = asyncio.create_task(worker.run())
    await worker.wait_ready()
    await asyncio.to_thread(engine.down)
    await worker.stop()
    await running
    await worker.stop()  # again, to no effect
    with pytest.raises(RuntimeError, match="has run already"):
        await worker.run()


def _deliver(engine: PeerEngine, session: PeerSession, run: PeerRun) -> None:
    engine.queue.remove(run)
    session.free -= 1
    session.in_hand[run.id, run.attempt] = run
    session.send(deliveries=[engine._delivery(run)])


def _assert(condition: bool) -> None:
    assert condition
