"""The processes of one benchmark: a database, engines, a worker and a client; and what they have used so far."""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from treadle.cli.bench import database, usage
from treadle.cli.bench.children import Child, ClientChild
from treadle.cli.bench.client import SETUP
from treadle.cli.bench.plan import WARM_UP_RUNS, Plan
from treadle.cli.bench.tasks import STARTED
from treadle.cli.bench.times import Times
from treadle.cli.bench.workers import SLOTS, TOKENS
from treadle.cli.exits import CommandError, Exit
from treadle.cli.options import make_settings
from treadle.cli.parent import child_environment
from treadle.server.process import EngineProcess

_LOOK_SECONDS = 0.002
_TOKEN_LIFE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """CPU microseconds of each kind of process, and the database's write-ahead log, at one moment."""

    engine: int | None
    postgres: int | None
    worker: int | None
    client: int | None
    wal_bytes: int

    def cpu_per_task(self, before: "Snapshot", tasks: int) -> dict[str, float | None]:
        return {
            f"{name}_cpu_us_per_task": _share(getattr(self, name), getattr(before, name), tasks)
            for name in ("engine", "postgres", "worker", "client")
        }


class Rig:
    """Starts the processes, and ends them with the block.

    Args:
        plan: which processes.
        folder: fresh, for all their files.
        cells: how many tasks may be numbered.
    """

    def __init__(self, plan: Plan, folder: Path, *, cells: int) -> None:
        self.plan = plan
        self._folder = folder
        self._files = {name: folder / f"{name}.times" for name in ("triggered", "started", "finished")}
        self.triggered, self.started, self.finished = (Times.create(path, cells) for path in self._files.values())
        self._ends = ExitStack()
        self.engines: list[EngineProcess] = []
        self.worker: Child | None = None
        self._client: ClientChild | None = None
        self._tokens: list[str] = []
        self.database_url = ""
        # Results that must be stored by now.
        self.runs = 0

    def __enter__(self) -> Self:
        try:
            self.database_url = self.plan.database_url or self._start_postgres()
            for number in range(self.plan.engines):
                self.start_engine(number)
            self._tokens = self._make_tokens()
        except BaseException:
            self._ends.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    # -- processes ----------------------------------------------------------------------------------------------------

    def _start_postgres(self) -> str:
        """The same server, with the same settings, that an engine brings along."""
        from treadle.storage.embedded import EmbeddedPostgres

        return self._ends.enter_context(EmbeddedPostgres(self._folder / "database")).url

    def start_engine(self, number: int) -> None:
        engine = EngineProcess(
            self._folder / f"engine-{number}", database_url=self.database_url, env=child_environment()
        )
        self.engines.append(self._ends.enter_context(engine))

    def _make_tokens(self) -> list[str]:
        """One for each tenant; the first tenant is the default one."""
        from treadle.server.tokens import create_token

        settings = make_settings(database_url=self.database_url, data_dir=self._folder)
        names = [f"bench-{number}" for number in range(1, self.plan.tenants)]

        async def make() -> list[str]:
            return [await create_token(settings, name="bench", expires_in=_TOKEN_LIFE, tenant=name) for name in names]

        return [self.engines[0].token, *asyncio.run(make())]

    def start_worker(self, *, engine: int = -1, tenants: int | None = None, module: str = "tasks") -> None:
        """Start the worker, at the last engine unless told otherwise; one session for each tenant."""
        plan = self.plan
        target = [sys.executable, "-m", "treadle.cli", "worker", f"treadle.cli.bench.{module}:app"]
        command = [*target, "--slots", str(plan.slots)]
        tokens = self._tokens[:tenants]
        if plan.client == "hatchet":
            command = [sys.executable, "-m", "treadle.cli.bench.hatchet_tasks"]
        elif len(tokens) > 1:
            command = [sys.executable, "-m", "treadle.cli.bench.workers"]
        elif plan.processes > 1:
            command += ["--processes", str(plan.processes)]
        env = self._env(self.engines[engine]) | {TOKENS: json.dumps(tokens), SLOTS: str(plan.slots)}
        self.worker = self._ends.enter_context(Child(command, env))

    def stop_worker(self) -> None:
        if self.worker is not None:
            self.worker.end()
        self.worker = None

    def start_client(self, *, engine: int = 0) -> None:
        """Start the client and warm everything up. The worker must have been started."""
        setup = {
            "client": self.plan.client,
            "payload_bytes": self.plan.payload_bytes,
            "triggered": str(self._files["triggered"]),
            "finished": str(self._files["finished"]),
        }
        env = self._env(self.engines[engine]) | {SETUP: json.dumps(setup), TOKENS: json.dumps(self._tokens)}
        self._client = self._ends.enter_context(ClientChild(env))
        self._client.ask("warm_up")
        self.runs += WARM_UP_RUNS * len(self._tokens)

    @property
    def client(self) -> ClientChild:
        assert self._client is not None  # noqa: S101 - started before it is used
        return self._client

    def _env(self, engine: EngineProcess) -> dict[str, str]:
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("TREADLE_", "HATCHET_"))}
        return {
            **mine,
            **engine.client_env,
            **child_environment(),
            STARTED: str(self._files["started"]),
            "HATCHET_CLIENT_TOKEN": engine.token,
            "HATCHET_CLIENT_HOST_PORT": engine.grpc_address,
            "HATCHET_CLIENT_SERVER_URL": engine.http_url,
            "HATCHET_CLIENT_TLS_STRATEGY": "none",
        }

    # -- what happens -------------------------------------------------------------------------------------------------

    def wait_for_starts(self, numbers: range, *, seconds: float) -> None:
        """Return when all of them have started."""
        deadline = time.monotonic() + seconds
        for number in numbers:
            while not self.started[number]:
                if time.monotonic() > deadline:
                    raise CommandError(Exit.TIMED_OUT, f"task {number} had not started after {seconds:g} s")
                self._look_after_worker()
                time.sleep(_LOOK_SECONDS)

    def _look_after_worker(self) -> None:
        if self.worker is not None and self.worker.process.poll() is not None:
            raise CommandError(Exit.RUN_FAILED, f"the worker ended (code {self.worker.process.returncode})")

    def wait_until_stored(self, *, seconds: float) -> int:
        """Wait until nothing is queued or running; the moment (CLOCK_MONOTONIC, ns) when that was seen."""
        return asyncio.run(database.wait_until_idle(self.database_url, seconds=seconds))

    def check_all_stored(self) -> None:
        """Not one result more or less than runs."""
        stored = asyncio.run(database.count_results(self.database_url))
        if stored != self.runs:
            raise CommandError(Exit.RUN_FAILED, f"{stored} results are stored of {self.runs} runs")

    # -- what it took -------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        return Snapshot(
            engine=_sum(usage.cpu_us(engine.pid) for engine in self.engines if engine.is_running()),
            postgres=usage.cpu_us(self.postmaster()),
            worker=None if self.worker is None else usage.cpu_us(self.worker.pid),
            client=None if self._client is None else usage.cpu_us(self._client.pid),
            wal_bytes=asyncio.run(database.read_wal_bytes(self.database_url)),
        )

    def postmaster(self) -> int | None:
        """The embedded server; a database elsewhere cannot be measured from here."""
        if self.plan.database_url is not None:
            return None
        try:
            first_line = (self._folder / "database" / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0]
        except OSError:
            return None
        return int(first_line)

    def memory(self) -> dict[str, float | None]:
        """Most memory held at once, in MiB; of several engines, the largest."""
        peaks = [peak for engine in self.engines if (peak := usage.peak_rss_mb(engine.pid)) is not None]
        return {
            "engine_peak_rss_mb": max(peaks, default=None),
            "worker_peak_rss_mb": None if self.worker is None else usage.peak_rss_mb(self.worker.pid),
        }

    def end_and_count_rows(self, *, tasks: int | None = None) -> dict[str, float]:
        """End all but the database, because only then its counters are complete; rows written for each run, or for each
        of so many tasks."""
        tasks = tasks or self.runs
        self.stop_worker()
        if self._client is not None:
            self._client.end()
        for engine in self.engines:
            if engine.is_running():
                engine.terminate()
        rows = asyncio.run(database.read_row_counts(self.database_url))
        # The warm-up ran the same task, so rows are counted, and divided, from the very first run on.
        return {
            "row_versions_per_task": round((rows.inserted + rows.updated) / tasks, 2),
            "deletes_per_task": round(rows.deleted / tasks, 2),
        }


@contextmanager
def rig_for(plan: Plan, *, cells: int) -> Iterator[Rig]:
    """A rig in a fresh folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-", dir=plan.parent_dir) as folder:
        # The embedded database runs as another user when this one is root.
        Path(folder).chmod(0o711)
        with Rig(plan, Path(folder), cells=cells) as rig:
            yield rig


def _share(now: int | None, then: int | None, tasks: int) -> float | None:
    return None if now is None or then is None else round((now - then) / tasks, 1)


def _sum(parts: Iterator[int | None]) -> int | None:
    known = [part for part in parts if part is not None]
    return sum(known) if known else None
