"""Run a real job on a real engine: measure the source of Python's own standard library.

Starts an engine (with its own PostgreSQL) and two workers, runs the job and prints its report. With `--once` that is
all; otherwise everything stays up, to be explored, until Ctrl-C.
"""

import argparse
import asyncio
import os
import shlex
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from stdlib_report.analysis import LibraryMeasure, library_folder
from stdlib_report.app import FLAKY_PACKAGE, report
from stdlib_report.following import follow
from stdlib_report.processes import Processes, StartProblem
from stdlib_report.report import render_report
from treadle import NotFound, Run, TreadleError
from treadle.server.process import EngineStartError

ROOT = Path(__file__).parents[1]
DEFAULT_DATA_DIR = ROOT / ".treadle" / "quickstart"
REGISTRATION_SECONDS = 30.0
LOOK_EVERY_SECONDS = 0.1
INTERRUPTED = 130


def main() -> int:
    """Run the quickstart; the exit code."""
    arguments = _parse()
    console = Console()
    data_dir: Path = arguments.data_dir.expanduser().absolute()
    # SIGTERM ends this like Ctrl-C, so that nothing is left running.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Processes(data_dir, workers=arguments.workers, slots=arguments.slots) as processes:
            run = asyncio.run(_run_job(processes, console))
            if not arguments.once:
                _print_next_steps(console, processes, run)
                _stay_until_interrupted(processes)
    except KeyboardInterrupt:
        console.print("stopped before the end")
        return INTERRUPTED
    except (StartProblem, EngineStartError, TreadleError) as problem:
        errors = Console(stderr=True)
        errors.print(f"[bold red]The quickstart failed:[/] {escape(str(problem))}", highlight=False, soft_wrap=True)
        return 1
    return 0


async def _run_job(processes: Processes, console: Console) -> Run[LibraryMeasure]:
    began = time.monotonic()
    console.print("[bold]1[/]  starting an engine with its own PostgreSQL ...")
    await asyncio.to_thread(processes.start_engine)
    engine = processes.engine
    console.print(f"   ready after {time.monotonic() - began:.1f} s: gRPC {engine.grpc_address}, {engine.http_url}")
    os.environ |= engine.client_env
    console.print("[bold]2[/]  starting workers ...")
    processes.start_workers()
    run = await _start(processes)
    console.print(f"[bold]3[/]  run {run.id}: one child for each package of {library_folder()}", soft_wrap=True)
    started = time.monotonic()
    library = await follow(run, console, processes.check)
    console.print(render_report(library, seconds=time.monotonic() - started))
    return run


async def _start(processes: Processes) -> Run[LibraryMeasure]:
    deadline = time.monotonic() + REGISTRATION_SECONDS
    while True:
        try:
            return await report.start(root=str(library_folder()))
        except NotFound:
            # A task is known once its first worker has registered it.
            processes.check()
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(LOOK_EVERY_SECONDS)


def _print_next_steps(console: Console, processes: Processes, run: Run[LibraryMeasure]) -> None:
    treadle = shlex.quote(str(Path(sys.executable).with_name("treadle")))
    folder = shlex.quote(str(processes.engine.data_dir))
    one_package = shlex.quote(f'{{"root": "{library_folder()}", "package": "{FLAKY_PACKAGE}"}}')
    console.print("\n[bold]Everything stays up. In another terminal:[/]\n")
    for line in (
        f"export TREADLE_DATA_DIR={folder}",
        f"{treadle} runs list --task measure --limit 10",
        f"{treadle} runs get {run.id}",
        f"{treadle} trigger measure --input {one_package} --wait",
        f"{treadle} runs replay {run.id}",
        f"kill -9 {processes.engine.pid}   # then start this again: nothing is lost",
    ):
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"\nLogs are in {folder}. Ctrl-C stops the engine, its database and the workers.")


def _stay_until_interrupted(processes: Processes) -> None:
    with suppress(KeyboardInterrupt):
        while True:
            time.sleep(1)
            processes.check()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--once", action="store_true", help="stop everything when the report is printed")
    parser.add_argument("--data-dir", type=Path, default=DEFAULT_DATA_DIR, help="folder of the database and the logs")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (%(default)s)")
    parser.add_argument("--slots", type=int, default=2, help="tasks at a time in each worker (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
