"""Starts the processes of a benchmark, lets them work, and makes figures of what they did."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from treadle.cli.bench import database, usage
from treadle.cli.bench.tasks import STARTED
from treadle.cli.bench.times import Times, milliseconds_between, percentile
from treadle.cli.database import database_of
from treadle.cli.exits import CommandError, Exit
from treadle.cli.options import make_settings
from treadle.cli.parent import child_environment
from treadle.server.process import EngineProcess

WARM_UP_RUNS = 201
_DRAIN_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What to measure."""

    scenario: str
    client: str
    tasks: int
    slots: int
    window: int
    parent_dir: Path | None = None
    database_url: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """CPU microseconds of each process tree, and the database's write-ahead log, at one moment."""

    engine: int | None
    postgres: int | None
    worker: int | None
    client: int | None
    wal_bytes: int

    def per_task(self, before: "Snapshot", tasks: int) -> dict[str, float | None]:
        def share(now: int | None, then: int | None) -> float | None:
            return None if now is None or then is None else round((now - then) / tasks, 1)

        return {
            "wal_bytes_per_task": share(self.wal_bytes, before.wal_bytes),
            "engine_cpu_us_per_task": share(self.engine, before.engine),
            "postgres_cpu_us_per_task": share(self.postgres, before.postgres),
            "worker_cpu_us_per_task": share(self.worker, before.worker),
            "client_cpu_us_per_task": share(self.client, before.client),
        }


class Bench:
    """One run of one scenario."""

    def __init__(self, plan: BenchPlan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._files = {name: folder / f"{name}.times" for name in ("triggered", "started", "finished")}
        self._times = {name: Times.create(path, plan.tasks) for name, path in self._files.items()}
        self._engine = EngineProcess(folder / "data", database_url=plan.database_url, env=child_environment())
        self._worker: subprocess.Popen[bytes] | None = None
        self._client: subprocess.Popen[bytes] | None = None

    def measure(self) -> dict[str, Any]:
        with ExitStack() as ends:
            ends.enter_context(self._engine)
            self._worker = ends.enter_context(_child(self._worker_command(), self._env()))
            self._client = ends.enter_context(_child(self._client_command(), self._env(), talks=True))
            self._hear("ready")
            if self._plan.scenario == "drain":
                return self._drain(ends)
            return self._ordinary()

    def _ordinary(self) -> dict[str, Any]:
        before = self._snapshot()
        self._tell_go()
        heard = self._hear("ended_ns")
        return self._report(before, self._snapshot(), heard["began_ns"], heard["ended_ns"])

    def _drain(self, ends: ExitStack) -> dict[str, Any]:
        """Fill the queue while no worker is there, then measure a worker that empties it."""
        _end(self._worker)
        wal_bytes = self._wal_bytes()
        self._tell_go()
        self._hear("ended_ns")
        # CPU time is that of the draining; what is written to disk, that of the whole life of a task.
        before = replace(self._snapshot(), wal_bytes=wal_bytes)
        self._worker = ends.enter_context(_child(self._worker_command(), self._env()))
        total = WARM_UP_RUNS + self._plan.tasks
        ended = asyncio.run(database.wait_for_results(self._engine.database_url, total, seconds=_DRAIN_SECONDS))
        after = self._snapshot()
        # The worker's own start-up does not count: the clock starts with the first task.
        first = min(self._times["started"][at] for at in range(self._plan.tasks))
        return self._report(before, after, first, ended)

    # -- figures ----------------------------------------------------------------------------------------------------------

    def _report(self, before: Snapshot, after: Snapshot, began_ns: int, ended_ns: int) -> dict[str, Any]:
        plan = self._plan
        seconds = (ended_ns - began_ns) / 1e9
        started = [at for at in range(plan.tasks) if self._times["started"][at]]
        if len(started) != plan.tasks:
            raise CommandError(Exit.RUN_FAILED, f"{plan.tasks - len(started)} of {plan.tasks} tasks never started")
        report: dict[str, Any] = {
            "scenario": plan.scenario,
            "client": plan.client,
            "tasks": plan.tasks,
            "seconds": round(seconds, 3),
            "tasks_per_s": round(plan.tasks / seconds, 1),
        }
        # In a backlog that was made on purpose, the wait says nothing.
        if plan.scenario != "drain":
            report["start_latency_ms"] = _spread(milliseconds_between(self._times["triggered"], self._times["started"]))
        if plan.scenario == "latency":
            report["result_latency_ms"] = _spread(
                milliseconds_between(self._times["triggered"], self._times["finished"])
            )
        report |= {
            **after.per_task(before, plan.tasks),
            "engine_peak_rss_mb": usage.peak_rss_mb(self._engine.pid),
            "worker_peak_rss_mb": usage.peak_rss_mb(_pid(self._worker)),
            "slots": plan.slots,
            "window": plan.window if plan.scenario == "throughput" else None,
            "cpus": os.cpu_count(),
            "postgres": asyncio.run(database.read_settings(self._engine.database_url)),
        }
        return report | self._rows_per_task()

    def _rows_per_task(self) -> dict[str, float]:
        """Ends everything: the counters are complete only then."""
        _end(self._worker)
        _end(self._client)
        self._engine.terminate()
        settings = make_settings(data_dir=self._engine.data_dir, database_url=self._plan.database_url)
        with database_of(settings) as url:
            rows = asyncio.run(database.read_row_counts(url))
        # The warm-up ran the same task, so rows are counted, and divided, from the very first run on.
        runs = WARM_UP_RUNS + self._plan.tasks
        return {
            "row_versions_per_task": round((rows.inserted + rows.updated) / runs, 2),
            "deletes_per_task": round(rows.deleted / runs, 2),
        }

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            engine=usage.cpu_us(self._engine.pid),
            postgres=usage.cpu_us(self._postmaster()),
            worker=usage.cpu_us(_pid(self._worker)),
            client=usage.cpu_us(_pid(self._client)),
            wal_bytes=self._wal_bytes(),
        )

    def _wal_bytes(self) -> int:
        return asyncio.run(database.read_wal_bytes(self._engine.database_url))

    def _postmaster(self) -> int | None:
        """The embedded server; a database elsewhere cannot be measured from here."""
        if self._plan.database_url is not None:
            return None
        try:
            first_line = (self._folder / "data" / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0]
        except OSError:
            return None
        return int(first_line)

    # -- processes --------------------------------------------------------------------------------------------------------

    def _env(self) -> dict[str, str]:
        engine = self._engine
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("TREADLE_", "HATCHET_"))}
        return {
            **mine,
            **engine.client_env,
            **child_environment(),
            STARTED: str(self._files["started"]),
            "TREADLE_BENCH_SLOTS": str(self._plan.slots),
            "HATCHET_CLIENT_TOKEN": engine.token,
            "HATCHET_CLIENT_HOST_PORT": engine.grpc_address,
            "HATCHET_CLIENT_SERVER_URL": engine.http_url,
            "HATCHET_CLIENT_TLS_STRATEGY": "none",
        }

    def _worker_command(self) -> list[str]:
        if self._plan.client == "hatchet":
            return [sys.executable, "-m", "treadle.cli.bench.hatchet_tasks"]
        target = "treadle.cli.bench.tasks:app"
        return [sys.executable, "-m", "treadle.cli", "worker", target, "--slots", str(self._plan.slots)]

    def _client_command(self) -> list[str]:
        orders = {
            "scenario": self._plan.scenario,
            "client": self._plan.client,
            "window": self._plan.window,
            "triggered": str(self._files["triggered"]),
            "finished": str(self._files["finished"]),
        }
        return [sys.executable, "-m", "treadle.cli.bench.client", json.dumps(orders)]

    def _tell_go(self) -> None:
        assert self._client is not None and self._client.stdin is not None  # noqa: S101, PT018 - started with pipes
        self._client.stdin.write(b"go\n")
        self._client.stdin.flush()

    def _hear(self, key: str) -> dict[str, Any]:
        """The client's next line that has `key`; an SDK may print things of its own in between."""
        assert self._client is not None and self._client.stdout is not None  # noqa: S101, PT018 - started with pipes
        for line in self._client.stdout:
            if line.startswith(b"{"):
                message: dict[str, Any] = json.loads(line)
                if key in message:
                    return message
        raise CommandError(Exit.RUN_FAILED, f"the client ended before its work was done (code {self._client.wait()})")


def run_bench(plan: BenchPlan) -> dict[str, Any]:
    """Measure in a fresh folder that is removed afterwards."""
    # Asked to end, leave nothing behind: neither processes nor the folder.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="treadle-bench-", dir=plan.parent_dir) as folder:
        # The embedded database runs as another user when this one is root.
        Path(folder).chmod(0o711)
        return Bench(plan, Path(folder)).measure()


def _spread(ordered: list[float]) -> dict[str, float | None]:
    return {name: percentile(ordered, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}


@contextmanager
def _child(command: list[str], env: dict[str, str], *, talks: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE if talks else None
    # What a child prints besides is for the person who watches, not part of the report on stdout.
    process = subprocess.Popen(  # noqa: S603 - our own modules
        command,
        env=env,
        stdin=pipe or subprocess.DEVNULL,
        stdout=pipe or sys.stderr,
        stderr=None,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _pid(process: subprocess.Popen[bytes] | None) -> int | None:
    return None if process is None else process.pid
