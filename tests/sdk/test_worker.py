"""The worker against a scripted engine: running, reporting, cancelling, coming back."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.eventually import eventually
from treadle import Backoff, Context, NonRetryable, RetryAfter, TaskFailed, Treadle, TreadleError, Worker
from treadle.wire.gen.treadle.v1 import runs_pb2, worker_pb2

if TYPE_CHECKING:
    from tests.sdk.conftest import WorkerFactory
    from tests.sdk.peer import PeerEngine, PeerSession


def frames(engine: PeerEngine) -> list[worker_pb2.WorkerFrame]:
    return [frame for session in engine.sessions for frame in session.frames]


async def the_session(engine: PeerEngine) -> PeerSession:
    def one() -> PeerSession:
        assert len(engine.sessions) == 1
        return engine.sessions[0]

    return await eventually(one)


async def test_what_the_worker_says_about_itself(app: Treadle, engine: PeerEngine, working: WorkerFactory) -> None:
    @app.task(
        name="Resize-Image",
        retries=3,
        backoff=Backoff(factor=1.5, max=timedelta(minutes=5)),
        timeout=timedelta(seconds=90),
        schedule_timeout=timedelta(hours=1),
        priority=3,
        slots=2,
    )
    async def resize(path: str) -> None:
        """Makes it smaller.

        Much smaller.
        """

    async with working(slots=7, name="w-1", labels={"zone": "a"}) as worker:
        hello = engine.sessions[0].hello
        assert (hello.name, dict(hello.slots), dict(hello.labels)) == ("w-1", {"default": 7}, {"zone": "a"})
        assert list(hello.actions) == ["resize-image:resize-image"]
        assert await worker.wait_ready() == engine.sessions[0].worker_id
    definition = engine.definitions["Resize-Image"]
    assert definition.description == "Makes it smaller."
    assert definition.default_priority == 3
    (step,) = definition.tasks
    assert step.action == "resize-image:resize-image"
    assert (step.retries, step.backoff_factor, step.backoff_max_seconds) == (3, 1.5, 300)
    assert (step.timeout, step.schedule_timeout) == ("1m30s", "1h")
    assert dict(step.slot_requests) == {"default": 2}
    assert json.loads(definition.input_json_schema)["required"] == ["path"]


async def test_settings_left_out_are_left_to_the_engine(
    app: Treadle, engine: PeerEngine, working: WorkerFactory
) -> None:
    @app.task
    async def job() -> None: ...

    async with working():
        pass
    definition = engine.definitions["job"]
    assert not definition.HasField("default_priority")
    assert not definition.tasks[0].HasField("schedule_timeout")
    assert not definition.tasks[0].HasField("backoff_factor")
    assert definition.tasks[0].timeout == ""


async def test_many_tasks_are_registered_at_start(app: Treadle, engine: PeerEngine, working: WorkerFactory) -> None:
    for number in range(120):

        @app.task(name=f"job-{number}")
        async def job(n: int, label: str = "x") -> dict[str, int]:
            return {label: n}

    async with working():
        assert len(engine.definitions) == 120


async def test_a_refused_registration_names_the_task(app: Treadle, engine: PeerEngine) -> None:
    @app.task
    async def job() -> None: ...

    engine.abort_next["/v1.AdminService/PutWorkflow"] = [(grpc.StatusCode.INVALID_ARGUMENT, "tasks[0].timeout: is bad")]
    with pytest.raises(TreadleError, match="timeout") as caught:
        await Worker(app).run()
    assert caught.value.__notes__ == ["while registering task job"]


async def test_the_context(app: Treadle, engine: PeerEngine, working: WorkerFactory) -> None:
    seen: dict[str, Any] = {}

    @app.task(retries=1)
    async def job(ctx: Context, n: int) -> int:
        seen.update(
            task=ctx.task,
            run=ctx.run_id,
            attempt=ctx.attempt,
            fence=ctx.fence,
            retries=ctx.retry_count,
            most=ctx.max_retries,
            metadata=ctx.metadata,
            priority=ctx.priority,
            labels=dict(ctx.worker_labels),
            timeout=ctx.timeout,
            cancelled=ctx.cancelled,
        )
        if ctx.retry_count == 0:
            raise ValueError("first try")
        return n

    async with working(labels={"zone": "a"}):
        assert await job.options(priority=3, metadata={"team": "x"}).run(n=4) == 4
    (run_id,) = engine.runs
    assert seen == {
        "task": "job",
        "run": run_id,
        "attempt": 2,
        "fence": 2,
        "retries": 1,
        "most": 1,
        "metadata": {"team": "x"},
        "priority": 3,
        "labels": {"zone": "a"},
        "timeout": timedelta(seconds=60),
        "cancelled": False,
    }


async def test_log_lines_come_before_their_report(app: Treadle, engine: PeerEngine, working: WorkerFactory) -> None:
    @app.task
    def job(ctx: Context) -> None:
        ctx.log("hello\x00", "WARN", n=1, odd=object)
        ctx.progress(0.25)

    order: list[str] = []
    async with working():
        await job.run()
        for frame in frames(engine):
            order += [f"{line.level} {line.message} {line.metadata}" for line in frame.logs]
            order += ["done"] * len(frame.completed)
    assert order[-1] == "done"
    assert order[0].startswith('WARN hello\\x00 {"n":1,"odd":"<class')
    assert order[1] == 'INFO progress 25% {"progress":0.25}'


async def test_refresh_and_release(app: Treadle, engine: PeerEngine, working: WorkerFactory) -> None:
    @app.task
    async def job(ctx: Context) -> float:
        await ctx.release_slot()
        return (await ctx.refresh_timeout(timedelta(seconds=90))).timestamp()

    @app.task
    def plain(ctx: Context) -> float:
        return ctx.refresh_timeout(timedelta(milliseconds=1500)).wait().timestamp()

    async with working():
        assert await job.run() == 1_800_000_000
        assert await plain.run() == 1_800_000_000
    texts = [getattr(request, "increment_timeout_by", "release") for _, request in engine.unary]
    assert texts == ["release", "1m30s", "1s500ms"]


async def test_failures_carry_text_and_wishes(app: Treadle, engine: PeerEngine, working: WorkerFactory) -> None:
    @app.task(retries=2)
    async def later() -> None:
        raise RetryAfter(timedelta(milliseconds=1500), ValueError("busy"))

    @app.task(retries=2)
    async def never() -> None:
        raise NonRetryable("wrong \udcff account")

    @app.task(retries=2)
    def leaves() -> None:
        raise SystemExit(3)

    async with working():
        results = await asyncio.gather(later.run(), never.run(), leaves.run(), return_exceptions=True)
        assert all(isinstance(result, TaskFailed) for result in results)
        assert (await the_session(engine)).free == 100
    by_task = {run.new.task: run for run in engine.runs.values()}
    assert [failure.retry_after_ms for failure in by_task["later"].failures] == [1500] * 3
    assert by_task["later"].failures[0].error.startswith("RetryAfter: try again in 1.5 s: ValueError: busy\nTraceback")
    (only,) = by_task["never"].failures
    assert only.should_not_retry
    assert only.error.startswith("NonRetryable: wrong \\udcff account\n")
    assert len(by_task["leaves"].failures) == 3
    assert by_task["leaves"].failures[0].error.startswith("SystemExit: 3\n")


async def test_what_cannot_be_stored_fails_without_a_retry(
    app: Treadle, engine: PeerEngine, working: WorkerFactory
) -> None:
    @app.task(retries=5)
    async def nan() -> float:
        return float("nan")

    @app.task(retries=5)
    async def huge() -> str:
        return "x" * 5_000_000

    async with working():
        with pytest.raises(TaskFailed, match="NaN or infinity"):
            await nan.run()
        with pytest.raises(TaskFailed, match=r"huge returned 4\.8 MiB of JSON"):
            await huge.run()
    assert all(len(run.failures) == 1 for run in engine.runs.values())


async def test_an_input_that_does_not_fit_fails_without_a_retry(
    app: Treadle, engine: PeerEngine, working: WorkerFactory
) -> None:
    @app.task(retries=5)
    async def job(n: int) -> int:
        return n

    async with working():
        with pytest.raises(TaskFailed, match=r"job\.n: Input should be a valid integer"):
            await app.remote("job").run(n="many")
    (run,) = engine.runs.values()
    assert len(run.failures) == 1


async def test_an_unknown_action_is_reported(app: Treadle, working: WorkerFactory) -> None:
    @app.task
    async def job() -> None: ...

    async with working():
        with pytest.raises(TaskFailed, match="has no task for elsewhere:elsewhere"):
            await app.remote("elsewhere").run()


async def test_runs_started_inside_a_task_are_its_children(
    app: Treadle, engine: PeerEngine, working: WorkerFactory
) -> None:
    @app.task
    async def child(n: int) -> int:
        return n

    @app.task
    async def parent(ctx: Context) -> str:
        await child.run(0)
        await asyncio.gather(child.run(1), child.options(child_key="k").run(2))
        await child.run_many([{"n": 3}, {"n": 4}])
        await child.options(detached=True).run(5)
        return ctx.task_id

    @app.task
    def plain_parent(ctx: Context) -> str:
        child.run(0).wait()
        child.run(1).wait()
        return ctx.task_id

    async with working():
        parents = [await parent.run(), await plain_parent.run()]
    found = [
        (run.new.parent_task_id, run.new.child_index, run.new.child_key, json.loads(run.new.input)["n"])
        for run in engine.runs.values()
        if run.new.task == "child"
    ]
    mine, other = parents
    assert sorted(found) == sorted(
        [
            (mine, 0, "", 0),
            (mine, 1, "", 1),
            (mine, 2, "k", 2),
            (mine, 3, "", 3),
            (mine, 4, "", 4),
            ("", 0, "", 5),
            (other, 0, "", 0),
            (other, 1, "", 1),
        ]
    )
    with pytest.raises(RuntimeError, match="child_key"):
        child.options(child_key="k").start(1)


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
    monkeypatch.setattr("treadle.sdk.worker.session._OWN_DEADLINE_SECONDS", -60.0)

    @app.task
    async def job() -> None:
        await asyncio.Event().wait()

    async with working():
        with pytest.raises(TaskFailed, match="stopped by the worker"):
            await job.run()
    (run,) = engine.runs.values()
    assert run.status == runs_pb2.RUN_STATUS_FAILED


async def test_settings_are_checked(app: Treadle) -> None:
    with pytest.raises(ValueError, match="no tasks"):
        Worker(app)

    @app.task
    async def job() -> None: ...

    with pytest.raises(ValueError, match="at least one slot"):
        Worker(app, slots=0)
    with pytest.raises(TreadleError, match="worker name"):
        Worker(app, name="a b")


def _assert(condition: bool) -> None:
    assert condition


def _only(items: list[worker_pb2.Heartbeat]) -> worker_pb2.Heartbeat:
    assert items
    return items[0]


def _other(engine: PeerEngine, first: PeerSession) -> PeerSession:
    assert engine.sessions
    assert engine.sessions[0] is not first
    return engine.sessions[0]
