"""The processes of a chaos test, and how they are killed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
import psutil

from tests.chaos.effects import count_bytes
from tests.chaos.plan import EFFECTS_FOLDER_VARIABLE, WORKER_APP
from tests.support.eventually import eventually
from treadle.testing.engine import EngineProcess

ROOT = Path(__file__).parents[2]
SLOTS = 50
GIVEN_UP_SECONDS = 30.0

_ATTEMPTS_OF = """
SELECT count(*) FROM treadle.attempt a JOIN treadle.worker w ON (w.tenant_id, w.id) = (a.tenant_id, a.worker_id)
WHERE w.name = $1
"""


class Cluster:
    """An engine with its own database, and workers that write down what they do."""

    def __init__(
        self, folder: Path, *, workers: int, app: str = WORKER_APP, settings: Mapping[str, str] | None = None
    ) -> None:
        self.engine = EngineProcess(folder / "data", env=settings)
        self._app = app
        self.effects_folder = folder / "effects"
        self._logs = folder
        self.wanted_workers = workers
        self._workers: list[subprocess.Popen[bytes]] = []
        self._names: dict[int, str] = {}
        self._started = 0

    # -- faults -----------------------------------------------------------------------------------------------------

    async def kill_engine(self) -> None:
        """Kill the engine without a warning; start it again on the same data."""
        await asyncio.to_thread(self.engine.kill)
        await asyncio.to_thread(self.engine.start)

    async def kill_worker(self, index: int) -> None:
        """Kill one worker without a warning; another takes its place."""
        victim = self._workers.pop(index % len(self._workers))
        await asyncio.to_thread(_kill_tree, victim.pid)
        await asyncio.to_thread(victim.wait)
        self.start_worker()

    async def pause_worker(self, index: int) -> None:
        """Freeze one worker until the engine has given its attempts to others, then let it go on as if nothing was."""
        victim = self._workers[index % len(self._workers)]
        await asyncio.to_thread(_signal_tree, victim.pid, signal.SIGSTOP)
        try:
            await self._until_given_up(self._names[victim.pid])
        finally:
            await asyncio.to_thread(_signal_tree, victim.pid, signal.SIGCONT)

    async def _until_given_up(self, worker: str) -> None:
        connection = await asyncpg.connect(self.engine.database_url)

        async def holds_nothing() -> int:
            held = await connection.fetchval(_ATTEMPTS_OF, worker)
            assert held == 0
            return 0

        try:
            await eventually(holds_nothing, timeout=GIVEN_UP_SECONDS)
        finally:
            await connection.close()

    async def kill_postgres(self) -> None:
        """Kill every process of the database at once. Bringing it back is the engine's own affair."""
        await asyncio.to_thread(_kill_tree, self.postmaster_pid())

    async def kill_postgres_as_it_recovers(self, times: int) -> None:
        """Kill the database, and kill it again as soon as it is being brought back."""
        for _ in range(times):
            before = self.postmaster_pid()
            await self.kill_postgres()

            def another_is_there(before: int = before) -> None:
                assert self.postmaster_pid() != before

            await eventually(another_is_there, timeout=GIVEN_UP_SECONDS)
        await self.kill_postgres()

    def postmaster_pid(self) -> int:
        """The process that the database's own file names; 0 while there is none."""
        file = self.engine.data_dir / "postgres" / "postmaster.pid"
        lines = file.read_text().splitlines() if file.exists() else []
        return int(lines[0]) if lines else 0

    def client_env(self) -> dict[str, str]:
        """What points workers at the engine."""
        return self.engine.client_env

    # -- life -------------------------------------------------------------------------------------------------------

    def start_worker(self) -> None:
        self._started += 1
        environment = os.environ | self.client_env()
        environment[EFFECTS_FOLDER_VARIABLE] = str(self.effects_folder)
        name = f"chaos-{self._started}"
        command = [sys.executable, "-m", "treadle.cli", "worker", self._app, "--name", name]
        with (self._logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--slots", str(SLOTS)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._workers.append(process)
        self._names[process.pid] = name

    def check_workers(self) -> None:
        """Raises RuntimeError when a worker has ended by itself."""
        for worker in self._workers:
            if worker.poll() is not None:
                raise RuntimeError(f"a worker ended by itself, with code {worker.returncode}")

    def effect_bytes(self) -> int:
        return count_bytes(self.effects_folder)

    def log_tails(self) -> Iterator[str]:
        """The ends of all logs, for the report of a failure."""
        yield f"engine:\n{self.engine.log_tail()}"
        for file in sorted(self._logs.glob("chaos-*.log")):
            yield f"{file.name}:\n{file.read_text(errors='replace')[-2000:]}"

    async def __aenter__(self) -> Self:
        self.effects_folder.mkdir(parents=True)
        await self.start_engines()
        for _ in range(self.wanted_workers):
            self.start_worker()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            await asyncio.to_thread(_kill_tree, worker.pid)
            await asyncio.to_thread(worker.wait)
        await self.close_engines()

    async def start_engines(self) -> None:
        await asyncio.to_thread(self.engine.start)

    async def close_engines(self) -> None:
        await asyncio.to_thread(self.engine.close)


def _kill_tree(pid: int) -> None:
    family = _signal_tree(pid, signal.SIGKILL)
    psutil.wait_procs(family[1:], timeout=10)


def _signal_tree(pid: int, number: signal.Signals) -> list[psutil.Process]:
    """Signal a process and all below it. The root goes first, so that it cannot replace what it loses."""
    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    return family
