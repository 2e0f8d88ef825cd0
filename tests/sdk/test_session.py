"""The worker against a scripted engine: cancels, breaks and silence."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from treadle import Context, TaskFailed, Treadle
from treadle.wire.gen.treadle.v1 import runs_pb2, worker_pb2

if TYPE_CHECKING:
    from tests.sdk.conftest import WorkerFactory
    from tests.sdk.peer import PeerEngine
    from tests.sdk.peer_state import PeerSession


async def the_session(engine: PeerEngine) -> PeerSession:
    def one() -> PeerSession:
        assert len(engine.sessions) == 1
        return engine.sessions[0]

    return await eventually(one)


async def test_a_cancelled_async_task_is_interrupted_and_its_slot_freed(
    app: Treadle, engine: PeerEngine, working: WorkerFactory
) -> None:
    seen: list[str | None] = []
    started = asyncio.Event()

    @app.task
    async def job(ctx: Context) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(ctx.cancel_reason)

    async with working(slots=1):
        run = await job.start()
        await started.wait()
        assert await run.cancel()
        session = await the_session(engine)
        await eventually(lambda: _assert(session.free == 1))
        assert [a.task_id for frame in session.frames for a in frame.stopped] == [run.id]
    assert seen == ["cancelled"]


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_cancel_that_comes_with_its_delivery_frees_the_slot(
    app: Treadle, engine: PeerEngine, working: WorkerFactory, kind: str
) -> None:
    @app.task(name="async")
    async def one() -> None:
        await asyncio.Event().wait()

    @app.task(name="plain")
    def two(ctx: Context) -> None:
        while not ctx.cancelled:
            pass

    async with working(slots=1):
        session = await the_session(engine)
        session.free = 0
        run = engine.runs[(await app.remote(kind).start()).id]

        def both() -> None:
            engine.queue.remove(run)
            session.in_hand[run.id, 1] = run
            cancel = worker_pb2.Cancel(task_id=run.id, attempt=1)
            session.send(deliveries=[engine._delivery(run)], cancels=[cancel])

        engine.do(both)
        await eventually(lambda: _assert(session.free == 1))


async def test_a_plain_task_keeps_its_slot_until_its_code_ends(
    app: Treadle, engine: PeerEngine, working: WorkerFactory
) -> None:
    started, go = threading.Event(), threading.Event()
    seen: list[str | None] = []

    @app.task
    def job(ctx: Context) -> None:
        started.set()
        go.wait(10)
        seen.append(ctx.cancel_reason)

    async with working(slots=1):
        run = await job.start()
        await asyncio.to_thread(started.wait, 10)
        engine.do(lambda: engine.cancel_run(engine.runs[run.id], worker_pb2.CANCEL_REASON_TIMED_OUT))
        session = await the_session(engine)
        engine.do(lambda: session.send(canary=7))
        await eventually(lambda: _assert(any(f.heartbeat.canary == 7 for f in session.frames)))
        assert session.free == 0
        go.set()
        await eventually(lambda: _assert(session.free == 1))
    assert seen == ["timed out"]


async def test_a_cancel_for_something_unknown_is_answered(
    app: Treadle, engine: PeerEngine, working: WorkerFactory
) -> None:
    @app.task
    async def job() -> None: ...

    async with working():
        session = await the_session(engine)
        engine.do(lambda: session.send(cancels=[worker_pb2.Cancel(task_id="gone", attempt=3)]))
        await eventually(
            lambda: _assert([(a.task_id, a.attempt) for f in session.frames for a in f.stopped] == [("gone", 3)])
        )


async def test_canaries_are_answered_with_what_runs(app: Treadle, engine: PeerEngine, working: WorkerFactory) -> None:
    go = asyncio.Event()

    @app.task
    async def job() -> None:
        await go.wait()

    async with working():
        run = await job.start()
        session = await the_session(engine)
        await eventually(lambda: _assert(any(frame.started for frame in session.frames)))
        engine.do(lambda: session.send(canary=41))
        beat = await eventually(lambda: _only([f.heartbeat for f in session.frames if f.heartbeat.canary == 41]))
        assert [attempt.task_id for attempt in beat.running] == [run.id]
        go.set()
        await run.result()


async def test_reports_are_sent_again_until_they_are_settled(
    app: Treadle, engine: PeerEngine, working: WorkerFactory
) -> None:
    calls: list[int] = []

    @app.task
    async def job() -> str:
        calls.append(1)
        return "result"

    async with working():
        session = await the_session(engine)
        engine.settle = False
        await job.run()
        worker_id = session.worker_id
        await asyncio.to_thread(engine.down)
        await asyncio.to_thread(engine.up)
        again = await the_session(engine)
        assert again.hello.worker_id == worker_id
        assert len(again.hello.in_hand) == 1
        await eventually(lambda: _assert(sum(len(f.completed) for f in again.frames) == 1))
        engine.settle = True
        engine.do(lambda: again.send(settled=again.hello.in_hand))
        await job.run()
    assert len(calls) == 2


async def test_running_tasks_survive_a_break(app: Treadle, engine: PeerEngine, working: WorkerFactory) -> None:
    go = asyncio.Event()

    @app.task
    async def job() -> str:
        await go.wait()
        return "result"

    async with working():
        run = await job.start()
        session = await the_session(engine)
        await eventually(lambda: _assert(any(frame.started for frame in session.frames)))
        await asyncio.to_thread(engine.down)
        await asyncio.to_thread(engine.up)
        again = await the_session(engine)
        assert [attempt.task_id for attempt in again.hello.in_hand] == [run.id]
        go.set()
        assert await run.result() == "result"
    assert engine.puts == 1


async def test_an_engine_that_forgot_the_worker_is_told_everything_again(
    app: Treadle, engine: PeerEngine, working: WorkerFactory
) -> None:
    @app.task
    async def job() -> int:
        return 1

    async with working():
        engine.forget_workers = True
        engine.definitions.clear()
        await asyncio.to_thread(engine.down)
        await asyncio.to_thread(engine.up)
        await eventually(lambda: _assert("job" in engine.definitions))
        assert await job.run() == 1


async def test_a_silent_engine_is_left_for_a_new_stream(
    app: Treadle, engine: PeerEngine, working: WorkerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.canary_ms, engine.lost_ms = 100, 200
    monkeypatch.setattr("treadle.sdk.worker.session._SHORTEST_SILENCE_SECONDS", 0.3)

    @app.task
    async def job() -> int:
        return 1

    async with working():
        first = await the_session(engine)
        assert await job.run() == 1
        await eventually(lambda: _assert(bool(engine.sessions) and engine.sessions[0] is not first))
        assert engine.sessions[0].worker_id == first.worker_id
        assert await job.run() == 1


async def test_goodbye_ends_the_stream_but_not_the_work(
    app: Treadle, engine: PeerEngine, working: WorkerFactory
) -> None:
    go = asyncio.Event()

    @app.task
    async def job() -> str:
        await go.wait()
        return "done"

    async with working():
        run = await job.start()
        first = await the_session(engine)
        await eventually(lambda: _assert(any(frame.started for frame in first.frames)))
        engine.do(lambda: first.send(goodbye=True))
        await eventually(lambda: _assert(first.half_closed and bool(engine.sessions)))
        second = await eventually(lambda: _other(engine, first))
        assert [attempt.task_id for attempt in second.hello.in_hand] == [run.id]
        go.set()
        assert await run.result() == "done"


async def test_a_delivery_that_comes_twice_runs_once(app: Treadle, engine: PeerEngine, working: WorkerFactory) -> None:
    calls: list[int] = []
    go = asyncio.Event()

    @app.task
    async def job() -> None:
        calls.append(1)
        await go.wait()

    async with working():
        run = await job.start()
        session = await the_session(engine)
        await eventually(lambda: _assert(bool(calls)))
        twice = engine._delivery(engine.runs[run.id])
        engine.do(lambda: session.send(deliveries=[twice], canary=5))
        await eventually(lambda: _assert(any(f.heartbeat.canary == 5 for f in session.frames)))
        go.set()
        await run.result()
    assert calls == [1]


async def test_a_blocked_loop_does_not_silence_the_worker(
    app: Treadle, engine: PeerEngine, working: WorkerFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """The test's own loop is the worker's: everything inside `hog` happens while it stands still."""
    answered: list[bool] = []
    caplog.set_level(logging.WARNING, "treadle.worker")

    @app.task
    def plain() -> str:
        return "ran"

    @app.task
    async def hog() -> None:
        (session,) = engine.sessions
        engine.do(lambda: session.send(canary=99))
        beat = threading.Event()

        def look() -> None:
            if any(frame.heartbeat.canary == 99 for frame in session.frames):
                beat.set()
            else:
                engine._loop.call_later(0.01, look)

        engine.do(look)
        answered.append(beat.wait(10))
        done = threading.Event()
        job = plain.start

        def other() -> None:
            job().wait(10).result().wait(10)
            done.set()

        thread = threading.Thread(target=other)
        thread.start()
        answered.append(done.wait(10))
        thread.join(10)

    async with working():
        await hog.run()
    assert answered == [True, True]


async def test_the_worker_stops_what_the_engine_cannot(
    app: Treadle, engine: PeerEngine, working: WorkerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.sdk.worker.execution._OWN_DEADLINE_SECONDS", -60.0)

    @app.task
    async def job() -> None:
        await asyncio.Event().wait()

    async with working():
        with pytest.raises(TaskFailed, match="stopped by the worker"):
            await job.run()
    (run,) = engine.runs.values()
    assert run.status == runs_pb2.RUN_STATUS_FAILED


def _assert(condition: bool) -> None:
    assert condition


def _only(items: list[worker_pb2.Heartbeat]) -> worker_pb2.Heartbeat:
    assert items
    return items[0]


def _other(engine: PeerEngine, first: PeerSession) -> PeerSession:
    assert engine.sessions
    assert engine.sessions[0] is not first
    return engine.sessions[0]
