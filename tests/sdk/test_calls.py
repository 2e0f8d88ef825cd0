"""Calling tasks: awaited, waited for, started, in bulk, from anywhere."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from treadle import (
    BulkStartFailed,
    InvalidInput,
    NonRetryable,
    NotFound,
    Run,
    RunStatus,
    TaskCancelled,
    TaskFailed,
    Treadle,
)

if TYPE_CHECKING:
    from tests.sdk.conftest import WorkerFactory
    from tests.sdk.peer import PeerEngine


class Size(BaseModel):
    width: int
    height: int = 1


@dataclass
class Thumbnail:
    path: str
    size: Size


async def test_run_returns_the_typed_result(app: Treadle, working: WorkerFactory) -> None:
    @app.task
    async def resize(path: str, size: Size) -> Thumbnail:
        return Thumbnail(path, size)

    async with working():
        assert await resize.run("a.png", Size(width=3)) == Thumbnail("a.png", Size(width=3))
        assert await resize.run(path="b.png", size=Size(width=4)) == Thumbnail("b.png", Size(width=4))


async def test_plain_code_waits(app: Treadle, working: WorkerFactory) -> None:
    @app.task
    def double(n: int) -> int:
        return 2 * n

    async with working():
        assert await asyncio.to_thread(lambda: double.run(4).wait()) == 8
        assert await asyncio.to_thread(lambda: double.start(5).wait().result().wait(10)) == 10
        assert await asyncio.to_thread(lambda: double.run_many([{"n": 1}, {"n": 2}]).wait()) == [2, 4]


async def test_waiting_inside_a_running_loop_is_refused_with_the_fix(app: Treadle) -> None:
    @app.task
    def double(n: int) -> int:
        return 2 * n

    with pytest.raises(RuntimeError, match=r"await double\.run\(\.\.\.\)"):
        double.run(4).wait()


async def test_the_function_itself_stays_callable(app: Treadle) -> None:
    @app.task
    async def double(n: int) -> int:
        return 2 * n

    @app.task
    def triple(n: int) -> int:
        """Three times."""
        return 3 * n

    assert await double(2) == 4
    assert triple(2) == 6
    assert triple.__doc__ == "Three times."


async def test_a_run_handle(app: Treadle, engine: PeerEngine, working: WorkerFactory) -> None:
    gate = asyncio.Event()

    @app.task
    async def wait() -> str:
        await gate.wait()
        return "done"

    run = await wait.start()  # no worker yet: but one has to register the task in a real engine
    assert await run.status() is RunStatus.QUEUED
    async with working():
        gate.set()
        assert await run.result() == "done"
        assert await run.result() == "done"  # also when it has ended long ago
        assert await run.status() is RunStatus.COMPLETED
        assert await run.cancel() is False
        again = app.attach(run.id, returns=str)
        assert await again.result() == "done"
    assert run.id in engine.runs


async def test_cancelled_runs_raise(app: Treadle) -> None:
    @app.task
    async def never() -> None: ...

    run = await never.start()
    assert await run.cancel() is True
    with pytest.raises(TaskCancelled, match="never"):
        await run.result()


async def test_failed_runs_raise_with_the_remote_error(app: Treadle, working: WorkerFactory) -> None:
    @app.task
    async def fail() -> None:
        raise NonRetryable("it is broken")

    async with working():
        with pytest.raises(TaskFailed) as caught:
            await fail.run()
    assert caught.value.error_type == "NonRetryable"
    assert caught.value.error_message == "it is broken"
    assert 'raise NonRetryable("it is broken")' in caught.value.traceback
    assert "runner.py" not in caught.value.traceback
    assert caught.value.task == "fail"


async def test_unknown_runs_and_tasks(app: Treadle) -> None:
    with pytest.raises(NotFound, match="not known"):
        await app.attach("ffffffff-0000-7000-8000-000000000000").result()
    with pytest.raises(NotFound, match="unknown-task is not registered") as caught:
        await app.remote("unknown-task").run(a=1)
    assert caught.value.field == "task"


async def test_remote_tasks_take_names_only(app: Treadle, engine: PeerEngine) -> None:
    remote = app.remote("elsewhere", returns=Size)
    run = await remote.start(path="x", size=Size(width=1))
    assert json.loads(engine.runs[run.id].new.input) == {"path": "x", "size": {"width": 1, "height": 1}}
    with pytest.raises(TypeError, match="by name"):
        remote.run("x")
    engine.do(lambda: engine.end_run(engine.runs[run.id], 3, output=b'{"width": 7}'))
    assert await run.result() == Size(width=7)


async def test_options_travel_and_leave_the_task_alone(app: Treadle, engine: PeerEngine) -> None:
    @app.task(priority=2)
    async def work(n: int) -> None: ...

    special = work.options(priority=3, metadata={"team": "a"})
    first = engine.runs[(await special.start(1)).id].new
    second = engine.runs[(await work.start(1)).id].new
    assert (first.priority, json.loads(first.metadata)) == (3, {"team": "a"})
    assert (second.priority, second.metadata) == (0, "")
    both = work.options(metadata={"x": 1}).options(priority=1)
    third = engine.runs[(await both.start(1)).id].new
    assert (third.priority, json.loads(third.metadata)) == (1, {"x": 1})
    with pytest.raises(ValueError, match="priority 4"):
        work.options(priority=4)
    with pytest.raises(InvalidInput, match="metadata"):
        work.options(metadata={"x": object()})


async def test_calls_go_into_task_groups_and_gather(app: Treadle, working: WorkerFactory) -> None:
    @app.task
    async def double(n: int) -> int:
        return 2 * n

    async with working():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(double.run(n)) for n in range(5)]
        assert [task.result() for task in tasks] == [0, 2, 4, 6, 8]
        assert await asyncio.gather(*(double.run(n) for n in range(3))) == [0, 2, 4]
        assert await asyncio.wait_for(double.run(3), 10) == 6


async def test_a_call_is_made_once(app: Treadle) -> None:
    @app.task
    async def double(n: int) -> int:
        return 2 * n

    call = double.start(1)
    await call
    with pytest.raises(RuntimeError, match="awaited already"):
        await call


def test_a_call_that_is_never_awaited_warns(app: Treadle) -> None:
    @app.task
    async def double(n: int) -> int:
        return 2 * n

    with pytest.warns(RuntimeWarning, match=r"double\.start\(\.\.\.\) was never awaited"):
        double.start(1)


def test_wait_gives_up_after_its_timeout(app: Treadle, engine: PeerEngine) -> None:
    @app.task
    async def never() -> int:
        return 1

    run = never.start().wait()
    with pytest.raises(TimeoutError, match="no result after"):
        run.result().wait(timeout=0.05)
    engine.do(lambda: engine.end_run(engine.runs[run.id], 3, output=b"5"))
    assert run.result().wait(10) == 5


def test_any_number_of_loops_can_use_one_app(app: Treadle, engine: PeerEngine) -> None:
    @app.task
    async def job(n: int) -> int:
        return n

    async def start() -> Run[int]:
        return await job.start(1)

    first = asyncio.run(start())
    second = asyncio.run(start())
    assert {first.id, second.id} == set(engine.runs)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(job.start(2).wait().id)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(set(found)) == 5


async def test_bulk_keeps_order_and_cuts_requests(app: Treadle, engine: PeerEngine) -> None:
    @app.task
    async def job(n: int) -> int:
        return n

    runs = await job.start_many({"n": n} for n in range(2500))
    assert [len(request.runs) for request in engine.start_requests] == [1000, 1000, 500]
    assert [json.loads(engine.runs[run.id].new.input)["n"] for run in runs] == list(range(2500))
    assert await job.start_many([]) == []


async def test_bulk_requests_stay_below_the_message_limit(app: Treadle, engine: PeerEngine) -> None:
    @app.task
    async def job(data: str) -> None: ...

    await job.start_many({"data": "x" * 1_000_000} for _ in range(7))
    assert [len(request.runs) for request in engine.start_requests] == [3, 3, 1]
    assert all(request.ByteSize() < 4 * 2**20 for request in engine.start_requests)


async def test_an_input_that_cannot_travel_names_the_task_and_the_size(app: Treadle, engine: PeerEngine) -> None:
    @app.task
    async def job(data: str) -> None: ...

    with pytest.raises(InvalidInput, match=r"job input: is 5\.0 MiB"):
        job.start("x" * 5 * 2**20)
    assert not engine.start_requests


async def test_bulk_refusals_leave_the_others_started(app: Treadle) -> None:
    refused = await asyncio.gather(app.remote("unknown").start_many([{"a": 1}]), return_exceptions=True)
    assert isinstance(refused[0], BulkStartFailed)
    assert list(refused[0].problems) == [0]
    assert refused[0].runs == [None]


async def test_bulk_inputs_are_checked_before_anything_is_started(app: Treadle, engine: PeerEngine) -> None:
    @app.task
    async def job(n: int) -> None: ...

    with pytest.raises(InvalidInput, match=r"job\.m: is no parameter"):
        job.start_many([{"n": 1}, {"m": 2}])
    with pytest.raises(InvalidInput, match=r"job\.n: is missing"):
        job.start_many([{}])
    assert not engine.start_requests


async def test_run_many_can_return_the_errors(app: Treadle, working: WorkerFactory) -> None:
    @app.task
    async def odd(n: int) -> int:
        if n % 2 == 0:
            raise NonRetryable("even")
        return n

    async with working():
        results = await odd.run_many([{"n": n} for n in range(4)], return_exceptions=True)
        with pytest.raises(TaskFailed, match="even"):
            await odd.run_many([{"n": n} for n in range(4)])
    assert [r if isinstance(r, int) else type(r).__name__ for r in results] == ["TaskFailed", 1, "TaskFailed", 3]
