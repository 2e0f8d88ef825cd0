"""The stage of an example: an engine with a PostgreSQL of its own, and a worker in this process."""

import argparse
import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from treadle import Treadle, TreadleError, Worker, WorkflowRun
from treadle.server.process import EngineProcess, EngineStartError

ROOT = Path(__file__).parents[1]
INTERRUPTED = 130

console = Console(highlight=False, soft_wrap=True)


def parser_of(doc: str | None, name: str) -> argparse.ArgumentParser:
    """A parser of arguments that knows where the example keeps its database and its log."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    folder = ROOT / ".treadle" / name
    parser.add_argument(
        "--data-dir", type=Path, default=folder, help="folder of the database and the log (%(default)s)"
    )
    return parser


def perform(app: Treadle, data_dir: Path, play: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Start the engine and a worker of the app, play, and stop both; returns the exit code."""
    # SIGTERM ends this like Ctrl-C, so that nothing is left running.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        asyncio.run(_play(app, data_dir.expanduser().absolute(), play))
    except KeyboardInterrupt:
        console.print("stopped before the end")
        return INTERRUPTED
    except (EngineStartError, OSError, TreadleError) as problem:
        Console(stderr=True).print(f"[bold red]The example failed:[/] {escape(str(problem))}", soft_wrap=True)
        return 1
    return 0


async def _play(app: Treadle, data_dir: Path, play: Callable[[], Coroutine[Any, Any, None]]) -> None:
    console.print("starting an engine with its own PostgreSQL ...")
    engine = EngineProcess(data_dir)
    try:
        await asyncio.to_thread(engine.start)
        os.environ |= engine.client_env
        async with _worker_of(app):
            await play()
    finally:
        await asyncio.to_thread(app.close)
        await asyncio.to_thread(engine.close)


@contextlib.asynccontextmanager
async def _worker_of(app: Treadle) -> AsyncIterator[None]:
    worker = Worker(app, slots=20, name="example")
    running = asyncio.create_task(worker.run())
    ready = asyncio.create_task(worker.wait_ready())
    await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        ready.cancel()
        await running  # raises what went wrong
    try:
        yield
    finally:
        await worker.stop()
        await running


async def show_tasks(run: WorkflowRun) -> None:
    """Print where the tasks of a run are."""
    table = Table("task", "status", "attempt", "error", title=f"run {run.id} of {run.task}", title_justify="left")
    for task in (await run.tasks()).values():
        table.add_row(task.name, task.status.name.lower(), str(task.attempt or ""), task.error.partition("\n")[0])
    console.print(table)
