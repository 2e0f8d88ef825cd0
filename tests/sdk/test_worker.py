"""The worker against a scripted engine: registering, running, reporting."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.eventually import eventually
from treadle import Backoff, Context, NonRetryable, RetryAfter, TaskFailed, Treadle, TreadleError, Worker

if TYPE_CHECKING:
    from tests.sdk.conftest import WorkerFactory
    from tests.sdk.peer import PeerEngine
    from tests.sdk.peer_state import PeerSession
    from treadle.wire.gen.treadle.v1 import worker_pb2


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


async def test_settings_are_checked(app: Treadle) -> None:
    with pytest.raises(ValueError, match="no tasks"):
        Worker(app)

    @app.task
    async def job() -> None: ...

    with pytest.raises(ValueError, match="at least one slot"):
        Worker(app, slots=0)
    with pytest.raises(TreadleError, match="worker name"):
        Worker(app, name="a b")
