"""A worker of several processes: one worker to the engine, whatever becomes of the processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.sdk.peer import TOKEN
from tests.support.eventually import eventually, eventually_sync
from treadle import NotFound, RunStatus, TaskFailed, Treadle, Worker
from treadle.sdk.worker.crew import Child
from treadle.testing.engine import EngineProcess
from treadle.wire.gen.treadle.v1 import runs_pb2, worker_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.sdk.peer import PeerEngine
    from tests.sdk.peer_state import PeerRun


@contextlib.contextmanager
def crew(
    engine: PeerEngine, *, grace: float = 30, processes: int = 2, errors: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.sdk.crew_app", engine.address, str(grace), str(processes)]
    with subprocess.Popen(command, stderr=errors, start_new_session=True) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def crew_in_here(engine: PeerEngine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Treadle]:
    """The parent is the test itself."""
    monkeypatch.setenv("TREADLE_TOKEN", TOKEN)
    monkeypatch.setenv("TREADLE_URL", engine.address)
    from tests.sdk.crew_app import app

    worker = Worker(app, processes=2)
    running = asyncio.create_task(worker.run())
    await asyncio.wait_for(worker.wait_ready(), 30)
    try:
        yield app
    finally:
        await worker.stop(timedelta(seconds=0))
        await running
        await asyncio.to_thread(app.close)


def lines(engine: PeerEngine, run: PeerRun) -> list[worker_pb2.LogLine]:
    return [
        line
        for session in engine.sessions + engine.ended_sessions
        for frame in session.frames
        for line in frame.logs
        if line.task_id == run.id
    ]


def started(engine: PeerEngine, app: Treadle, task: str, **inputs: object) -> PeerRun:
    """Start a run, and wait until its code runs."""
    run = engine.runs[app.remote(task).start(**inputs).wait(20).id]
    eventually_sync(lambda: _assert(bool(lines(engine, run))), timeout=30)
    return run


def pid_of(engine: PeerEngine, run: PeerRun) -> int:
    """The process that runs an `obedient` task."""
    return int(lines(engine, run)[-1].metadata.removeprefix('{"pid":').removesuffix("}"))


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, check=False)
    return sorted(map(int, found.stdout.split()))


def test_to_the_engine_it_is_one_worker(engine: PeerEngine, app: Treadle) -> None:
    with crew(engine) as process:
        found = app.remote("where", returns=list[int]).run_many({} for _ in range(10)).wait(30)
        (session,) = engine.sessions
        assert dict(session.hello.slots) == {"default": 10}
        pids = {child for [child, parent] in found if parent == process.pid}
        assert sorted(pids) == children_of(process.pid)
        assert len(pids) == 2


def test_what_tasks_give_back_is_as_in_one_process(engine: PeerEngine, app: Treadle) -> None:
    text = "ä\n\u2028" + "x" * 300_000
    with crew(engine):
        assert app.remote("echo").run_many([{"text": text}, {"text": ""}]).wait(30) == [text, ""]
        with pytest.raises(TaskFailed, match="NonRetryable: too bad") as caught:
            app.remote("fails").run(message="too bad").wait(20)
        assert "raise NonRetryable(message)\n" in caught.value.error
        assert "treadle/sdk" not in caught.value.error
        run = engine.runs[app.remote("where").start().wait(20).id]
        eventually_sync(lambda: _assert(run.ended))
        [line] = lines(engine, run)
        assert (line.level, line.message, line.metadata) == ("WARN", "in", '{"n":1}')
        [report] = [r for s in engine.sessions for f in s.frames for r in f.completed if r.task_id == run.id]
        assert 0 < report.started_at_us <= line.at_us


def test_tasks_start_children_from_their_own_process(engine: PeerEngine, app: Treadle) -> None:
    with crew(engine):
        run = app.remote("parent").start(n=3).wait(20)
        assert run.result().wait(30) == ["parent-0", "parent-1", "parent-2"]
    children = [child.new for child in engine.runs.values() if child.new.task == "echo"]
    assert [(child.parent_task_id, child.child_index) for child in children] == [(run.id, n) for n in range(3)]


@pytest.mark.parametrize("task", ["obedient", "patient"])
def test_cancels_reach_the_process(engine: PeerEngine, app: Treadle, task: str) -> None:
    with crew(engine):
        run = started(engine, app, task, **({"seconds": 600} if task == "obedient" else {}))
        engine.do(lambda: engine.cancel_run(run))
        eventually_sync(lambda: _assert(lines(engine, run)[-1].message == "out: cancelled"))
        (session,) = engine.sessions
        eventually_sync(lambda: _assert(session.free == 10))
        assert [a.task_id for frame in session.frames for a in frame.stopped] == [run.id]


def test_a_killed_process_is_replaced_and_its_tasks_run_again(engine: PeerEngine, app: Treadle) -> None:
    with crew(engine) as process:
        runs = [started(engine, app, "obedient", seconds=seconds) for seconds in (600, 2)]
        victim, survivor = pid_of(engine, runs[0]), pid_of(engine, runs[1])
        assert victim != survivor
        os.kill(victim, signal.SIGKILL)
        eventually_sync(lambda: _assert(len(lines(engine, runs[0])) == 2), timeout=20)
        (session,) = engine.sessions
        lost = [a.task_id for frame in session.frames for a in frame.lost]
        assert runs[0].id in lost
        assert runs[1].id not in lost
        assert (runs[0].attempt, runs[0].retries_used) == (2, 0)
        eventually_sync(lambda: _assert(runs[1].status == runs_pb2.RUN_STATUS_COMPLETED))
        assert runs[1].attempt == 1
        eventually_sync(lambda: _assert(len(children_of(process.pid)) == 2 and victim not in children_of(process.pid)))
        found = app.remote("where", returns=list[int]).run_many({} for _ in range(6)).wait(20)
        assert {pid for pid, _ in found} <= set(children_of(process.pid))


def test_what_was_cancelled_in_a_process_that_dies_has_stopped(engine: PeerEngine, app: Treadle) -> None:
    with crew(engine) as process:
        run = started(engine, app, "stubborn")
        engine.do(lambda: engine.cancel_run(run))
        (session,) = engine.sessions
        for pid in children_of(process.pid):
            os.kill(pid, signal.SIGKILL)
        eventually_sync(lambda: _assert(session.free == 10))
        assert [a.task_id for frame in session.frames for a in frame.stopped] == [run.id]
        assert not [a for frame in session.frames for a in frame.lost]


def test_a_crash_is_survived_by_all_else(engine: PeerEngine, app: Treadle) -> None:
    with crew(engine):
        assert app.remote("leaves_once").run().wait(30) == 2


def test_running_tasks_finish_after_a_signal(engine: PeerEngine, app: Treadle) -> None:
    with crew(engine) as process:
        runs = [started(engine, app, "obedient", seconds=0.5) for _ in range(2)]
        children = children_of(process.pid)
        # A service manager, or Ctrl-C, signals all of them.
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(20) == 0
    assert [run.output for run in runs] == [b'"done"'] * 2
    assert not any(map(_alive, children))


def test_what_does_not_finish_in_time_goes_back(engine: PeerEngine, app: Treadle) -> None:
    with crew(engine, grace=0.1) as process:
        runs = [started(engine, app, "obedient", seconds=600), started(engine, app, "stubborn")]
        finishing = started(engine, app, "patient")
        (session,) = engine.sessions
        children = children_of(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    for run in runs:
        assert (run.status, run.attempt, run.retries_used) == (runs_pb2.RUN_STATUS_QUEUED, 2, 0)
    assert finishing.output == b'"done"'
    assert {a.task_id for frame in session.frames for a in frame.handed_back} == {run.id for run in runs}
    assert not any(map(_alive, children))


def test_no_process_outlives_its_worker(engine: PeerEngine, app: Treadle) -> None:
    with crew(engine) as process:
        started(engine, app, "stubborn")
        children = children_of(process.pid)
        process.kill()
        process.wait(10)
        eventually_sync(lambda: _assert(not any(map(_alive, children))))


async def test_a_process_that_does_not_answer_is_replaced(engine: PeerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.sdk.worker.crew._MOST_SILENT_TICKS", 1)
    # Engines and databases that other tests keep for the session.
    others = set(children_of(os.getpid()))
    async with crew_in_here(engine, monkeypatch) as found:
        run = await found.remote("obedient").start(seconds=600)
        known = engine.runs[run.id]
        await eventually(lambda: _assert(bool(lines(engine, known))), timeout=20)
        os.kill(pid_of(engine, known), signal.SIGSTOP)
        await eventually(lambda: _assert(known.attempt == 2), timeout=20)
        assert len(set(children_of(os.getpid())) - others) <= 2


async def test_a_process_that_cannot_be_started_is_tried_again(
    engine: PeerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Engines and databases that other tests keep for the session.
    others = set(children_of(os.getpid()))
    async with crew_in_here(engine, monkeypatch) as found:
        victim = (await found.remote("where", returns=list[int]).run())[0]
        spawn, failures = Child.spawn, iter([OSError("no memory")])

        async def sometimes(child: Child, setup: bytes) -> None:
            for failure in failures:
                raise failure
            await spawn(child, setup)

        monkeypatch.setattr(Child, "spawn", sometimes)
        os.kill(victim, signal.SIGKILL)
        await eventually(lambda: _assert(len(set(children_of(os.getpid())) - others - {victim}) == 2), timeout=20)
        await found.remote("echo").run(text="x")


# -- where the app lives -------------------------------------------------------------------------------------------


async def test_an_app_of_a_module_runs_from_anywhere(engine: PeerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    async with crew_in_here(engine, monkeypatch) as found:
        [pid, parent] = await found.remote("where", returns=list[int]).run()
        assert parent == os.getpid() != pid


def test_an_app_in_a_function_is_refused(app: Treadle) -> None:
    @app.task
    async def job() -> None: ...

    with pytest.raises(ValueError, match="keep it in a variable of a module"):
        Worker(app, processes=2)
    with pytest.raises(ValueError, match="at least one process"):
        Worker(app, processes=0)


HEAD = """
import sys
from treadle import Treadle
app = Treadle("peer-token", sys.argv[1])

@app.task
async def add(a: int, b: int) -> int:
    return a + b
"""


def script(folder: Path, engine: PeerEngine, tail: str) -> subprocess.CompletedProcess[str]:
    file = folder / "job.py"
    file.write_text(HEAD + tail)
    return subprocess.run(
        [sys.executable, str(file), engine.address], capture_output=True, text=True, timeout=30, check=False
    )


def test_a_script_is_imported_by_its_path(engine: PeerEngine, app: Treadle, tmp_path: Path) -> None:
    file = tmp_path / "job.py"
    file.write_text(HEAD + 'if __name__ == "__main__":\n    app.run_worker(processes=2)\n')
    with subprocess.Popen([sys.executable, str(file), engine.address]) as process:
        assert app.remote("add").run(a=1, b=2).wait(30) == 3
        process.terminate()
        assert process.wait(20) == 0


def test_a_start_that_is_not_guarded_is_named(engine: PeerEngine, tmp_path: Path) -> None:
    ended = script(tmp_path, engine, "app.run_worker(processes=2)\n")
    assert ended.returncode == 1
    assert 'put the start under `if __name__ == "__main__":`' in ended.stderr


def test_tasks_that_the_child_does_not_have_are_named(engine: PeerEngine, tmp_path: Path) -> None:
    tail = 'if __name__ == "__main__":\n    app.task(name="extra")(lambda: 1)\n    app.run_worker(processes=2)\n'
    ended = script(tmp_path, engine, tail)
    assert ended.returncode == 1
    assert "lacks extra in the child process" in ended.stderr


# -- with a real engine --------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_a_task_that_ends_its_process_each_time_fails(postgres_url: str, tmp_path: Path) -> None:
    from tests.support.databases import new_database

    command = [
        sys.executable,
        "-m",
        "treadle.cli",
        "worker",
        "tests.sdk.crew_app:app",
        "--processes",
        "2",
        "--slots",
        "5",
    ]
    with new_database(postgres_url) as url, EngineProcess(tmp_path, database_url=url) as engine:
        env = {**os.environ, **engine.client_env}
        with subprocess.Popen(command, env=env) as process:
            try:
                app = Treadle(engine.token, engine.grpc_address)
                eventually_sync(lambda: _assert(_answers(app)), timeout=30)
                run = app.remote("leaves").start().wait(20)
                with pytest.raises(TaskFailed, match="maximum reassignment count"):
                    run.result().wait(60)
                assert run.status().wait(20) is RunStatus.FAILED
                assert _answers(app)
                process.terminate()
                assert process.wait(20) == 0
                app.close()
            finally:
                process.kill()


def _answers(app: Treadle) -> bool:
    try:
        return bool(app.remote("echo").run(text="x").wait(20) == "x")
    except NotFound:
        return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _assert(condition: bool) -> None:
    assert condition
