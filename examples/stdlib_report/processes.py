"""The quickstart's processes: one engine with its own PostgreSQL, and workers beside it."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from treadle.runtime.connection import CONNECTION_FILE, read_connection
from treadle.server.process import EngineProcess

WORKER_APP = "stdlib_report.app:app"
EXAMPLES = Path(__file__).parents[1]
STOP_SECONDS = 15.0
LOG_TAIL = 2000


class StartProblem(Exception):  # noqa: N818 - says what is wrong
    """The quickstart cannot go on. The message says why, and what to do."""


class Processes:
    """Engine and workers. They write their logs into the data folder, and end with the `with` block."""

    def __init__(self, data_dir: Path, *, workers: int, slots: int) -> None:
        self.engine = EngineProcess(data_dir)
        self._data_dir = data_dir
        self._wanted = workers
        self._slots = slots
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_engine(self) -> None:
        """Start the engine and wait until it is ready."""
        running = read_connection(self._data_dir / CONNECTION_FILE)
        if running is not None and _is_alive(running.pid):
            raise StartProblem(
                f"an engine runs on {self._data_dir} already (process {running.pid}): "
                "stop it first, or give this one another folder with --data-dir"
            )
        try:
            self.engine.start()
        except OSError as problem:
            raise StartProblem(f"the data folder {self._data_dir} cannot be used: {problem}") from None

    def start_workers(self) -> None:
        """Start the workers. They find their way by the same environment as this process."""
        for number in range(1, self._wanted + 1):
            name = f"quickstart-{number}"
            command = [sys.executable, "-m", "treadle.cli", "worker", WORKER_APP]
            with self._log_of(name).open("wb") as log:
                worker = subprocess.Popen(  # noqa: S603 - our own interpreter and our own arguments
                    [*command, "--name", name, "--slots", str(self._slots)],
                    cwd=EXAMPLES,
                    env=os.environ | self.engine.client_env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C is for this process: it stops the workers in good order.
                    start_new_session=True,
                )
            self.workers.append(worker)

    def check(self) -> None:
        """Raises StartProblem when one of the processes has ended."""
        if not self.engine.is_running():
            raise StartProblem(f"the engine has ended:\n{self.engine.log_tail(LOG_TAIL)}")
        for number, worker in enumerate(self.workers, 1):
            if (code := worker.poll()) is not None:
                log = self._log_of(f"quickstart-{number}").read_text(errors="replace")
                raise StartProblem(f"worker {number} has ended with code {code}:\n{log[-LOG_TAIL:]}")

    def stop(self) -> None:
        """Stop the workers, then the engine and its database."""
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            try:
                worker.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        self.engine.close()

    def _log_of(self, worker: str) -> Path:
        return self._data_dir / f"{worker}.log"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
