"""The engine's loop on a real database, with a clock that stands still and workers that only record.

Nothing runs in the background: `settle` commits what was asked for, one group after the other, until nothing is due.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import asyncpg

from tests.engine.fakes import Delivered, FakeWorker, RecordingAudience
from treadle.engine.attempt import Attempt
from treadle.engine.catalog import Catalog, TaskKind
from treadle.engine.commands import (
    AttemptKey,
    Cancel,
    Completed,
    Failed,
    LogLine,
    NewEvent,
    Push,
    RefreshTimeout,
    ReleaseSlot,
    Replay,
    Report,
    Stale,
    Started,
    Trigger,
    WorkerChanged,
    WorkerJoined,
    WorkerLost,
    resolve,
)
from treadle.engine.inbox import Inbox
from treadle.engine.put_workflow import put_workflow
from treadle.model.definition import TaskDefinition, WorkflowDefinition
from treadle.model.ids import new_id
from treadle.model.states import EventKind, RunStatus
from treadle.runtime.clock import VirtualClock
from treadle.scheduler.loop import ROWS_AT_ONCE, Loop
from treadle.scheduler.seat import Seat
from treadle.storage.database import Database
from treadle.storage.read import RunRow, ended_runs, run_rows

__all__ = ["Delivered", "FakeWorker", "RecordingAudience"]

TENANT = 1
OTHER_TENANT = 2
QUEUE_TABLES = (
    "attempt",
    "queue_item",
    "timer",
    "condition",
    "replayed",
    "event",
    "task_result",
    "task",
    "child",
    "log_line",
    "event_log",
)


class Answered(NamedTuple):
    """What came of a report."""

    settled: list[AttemptKey]
    stale: list[Stale]


async def every_tenant() -> set[int]:
    """A test's engine is the only one: it owns whoever there is."""
    return set(range(1, 10))


class Engine:
    """The loop and everything around it that a move needs."""

    def __init__(self, url: str) -> None:
        self.url = url
        # Near the real time, because ids carry that and tables have partitions around it.
        self.clock = VirtualClock(float(int(time.time())))
        self.database = Database(url, size=3)
        self.catalog = Catalog(self.database)
        self.inbox = Inbox()
        self.audience = RecordingAudience()
        self.loop = self._new_loop()

    def _new_loop(self) -> Loop:
        return Loop(
            Seat(self.url),
            take_leases=every_tenant,
            inbox=self.inbox,
            catalog=self.catalog,
            audience=self.audience,
            clock=self.clock,
        )

    # -- the loop ------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Commit everything that was asked for and everything that is due."""
        while True:
            await self.commit_once()
            memory = self.loop.memory
            due = memory.timers.next(memory.running.next_deadline())
            busy = not self.inbox.empty or memory.core.starving() or memory.core.unfinished
            if not busy and (due is None or due > self.clock.now()):
                return

    async def commit_once(self) -> None:
        """One turn of the loop: what waits now goes into one commit."""
        commands = await self.loop._process(self.inbox.take(ROWS_AT_ONCE))
        while commands:
            commands = await self.loop._process(commands)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, and what falls due happen."""
        self.clock.advance(seconds)
        await self.settle()

    async def restart(self) -> None:
        """Another loop takes the seat and loads all from the tables; no worker is connected to it."""
        await self.loop.close()
        self.catalog = Catalog(self.database)
        self.inbox = Inbox()
        self.loop = self._new_loop()
        await self.loop.open()

    # -- what callers ask for ------------------------------------------------------------------------------------

    async def workflow(self, name: str = "job", *, tenant_id: int = TENANT, priority: int = 1, **task: Any) -> TaskKind:
        """Register a workflow of one task; `task` are fields of its definition."""
        definition = WorkflowDefinition(
            name, (TaskDefinition(name, f"{name}:{name}", **task),), default_priority=priority
        )
        await put_workflow(
            definition, tenant_id=tenant_id, database=self.database, catalog=self.catalog, now=self.clock.now()
        )
        return await self.catalog.current(tenant_id, name)

    async def worker(
        self,
        *kinds: TaskKind,
        slots: Mapping[str, int] | int = 1,
        tenant_id: int = TENANT,
        worker_id: str | None = None,
        in_hand: set[AttemptKey] | None = None,
        says_when_stopped: bool = True,
    ) -> FakeWorker:
        """Connect a worker that serves these kinds."""
        capacity = {"default": slots} if isinstance(slots, int) else slots
        worker = FakeWorker(worker_id or new_id(), tenant_id, kinds, capacity)
        self.connect(worker, in_hand=(in_hand or set()) if says_when_stopped else None)
        await self.settle()
        return worker

    def connect(self, worker: FakeWorker, *, in_hand: set[AttemptKey] | None, paused: bool = False) -> None:
        """Ask the loop to let a worker's stream be open."""
        self.inbox.put_control(
            WorkerJoined(worker.tenant_id, worker.worker_id, worker.queue_ids, worker.slots, worker, in_hand, paused)
        )

    async def disconnect(self, worker: FakeWorker) -> None:
        """Let a worker's stream have closed."""
        self.inbox.put_control(WorkerChanged(worker.tenant_id, worker.worker_id, worker, gone=True))
        await self.settle()

    async def lose(self, worker: FakeWorker) -> None:
        """Give a silent worker up."""
        self.inbox.put_control(WorkerLost(worker.tenant_id, worker.worker_id))
        await self.settle()

    def task(
        self,
        kind: TaskKind,
        *,
        payload: bytes = b"{}",
        priority: int | None = None,
        parent_id: str | None = None,
        child_index: int | None = None,
        child_key: str | None = None,
        metadata: str | None = None,
    ) -> Attempt:
        """A run as intake hands it to the loop."""
        return Attempt(
            kind=kind,
            task_id=new_id(),
            attempt=1,
            priority=kind.default_priority if priority is None else priority,
            input=payload,
            metadata=metadata,
            parent_id=parent_id,
            child_index=child_index,
            child_key=child_key,
            created_at=self.clock.now(),
        )

    def ask_trigger(self, tasks: list[Attempt]) -> asyncio.Future[list[str | BaseException]]:
        """Put a trigger into the inbox."""
        future: asyncio.Future[list[str | BaseException]] = asyncio.get_running_loop().create_future()
        self.inbox.put(Trigger(tasks, lambda outcomes: resolve(future, outcomes)))
        return future

    async def trigger(self, *tasks: Attempt) -> list[str]:
        """Start runs; their ids."""
        future = self.ask_trigger(list(tasks))
        await self.settle()
        ids = await future
        assert all(isinstance(entry, str) for entry in ids), ids
        return [str(entry) for entry in ids]

    async def start(self, kind: TaskKind, count: int = 1, *, priority: int | None = None) -> list[str]:
        """Start plain runs of a kind."""
        return await self.trigger(*(self.task(kind, priority=priority) for _ in range(count)))

    def ask_report(self, worker: FakeWorker | None, **parts: Any) -> asyncio.Future[Answered]:
        """Put a report into the inbox."""
        future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()

        def answer(settled: list[AttemptKey], stale: list[Stale], error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(Answered(settled, stale))
            else:
                future.set_exception(error)

        tenant_id = parts.pop("tenant_id", TENANT if worker is None else worker.tenant_id)
        self.inbox.put(Report(tenant_id, "" if worker is None else worker.worker_id, answer, **parts))
        return future

    async def report(self, worker: FakeWorker | None, **parts: Any) -> Answered:
        """Report, and wait for the answer."""
        future = self.ask_report(worker, **parts)
        await self.settle()
        return await future

    async def cancel(self, *task_ids: str, tenant_id: int = TENANT, children: bool = False) -> list[str]:
        future: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self.inbox.put(Cancel(tenant_id, list(task_ids), future, children))
        await self.settle()
        return await future

    def ask_push(
        self,
        key: str,
        payload: bytes = b"{}",
        *,
        scope: str | None = None,
        metadata: str | None = None,
        tenant_id: int = TENANT,
    ) -> asyncio.Future[list[str | BaseException]]:
        """Put an event into the inbox."""
        future: asyncio.Future[list[str | BaseException]] = asyncio.get_running_loop().create_future()
        event = NewEvent(key, payload, metadata, scope, None)
        self.inbox.put(Push(tenant_id, [event], lambda outcomes: resolve(future, outcomes)))
        return future

    async def push(self, key: str, payload: bytes = b"{}", **fields: Any) -> str:
        """Push an event; its id."""
        future = self.ask_push(key, payload, **fields)
        await self.settle()
        [event_id] = await future
        assert isinstance(event_id, str), event_id
        return event_id

    async def replay(self, *task_ids: str, tenant_id: int = TENANT) -> list[str]:
        future: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self.inbox.put(Replay(tenant_id, list(task_ids), future))
        await self.settle()
        return await future

    async def refresh(self, task_id: str, seconds: float, *, tenant_id: int = TENANT) -> float:
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.inbox.put(RefreshTimeout(tenant_id, task_id, seconds, future))
        await self.settle()
        return await future

    async def release(self, task_id: str, *, tenant_id: int = TENANT) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.inbox.put(ReleaseSlot(tenant_id, task_id, future))
        await self.settle()
        await future

    # -- what is in the tables -----------------------------------------------------------------------------------

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        async with self.database.connection() as conn:
            return await conn.fetch(query, *args)

    async def value(self, query: str, *args: object) -> Any:
        async with self.database.connection() as conn:
            return await conn.fetchval(query, *args)

    async def run(self, task_id: str, *, tenant_id: int = TENANT) -> RunRow:
        """A run as it stands."""
        async with self.database.connection() as conn:
            [row] = await run_rows(conn, tenant_id=tenant_id, ids=[task_id])
        return row

    async def status(self, task_id: str) -> RunStatus:
        return (await self.run(task_id)).status

    async def output(self, task_id: str, *, tenant_id: int = TENANT) -> bytes | None:
        async with self.database.connection() as conn:
            [row] = await ended_runs(conn, tenant_id=tenant_id, ids=[task_id])
        return row.output

    async def count(self, table: str) -> int:
        return int(await self.value(f"SELECT count(*) FROM treadle.{table}"))

    async def events(self, task_id: str) -> list[tuple[EventKind, int]]:
        """The history of a run."""
        rows = await self.fetch(
            "SELECT e.kind, u.attempt FROM treadle.event_log e, unnest(e.task_ids, e.attempts) AS u (task_id, attempt) "
            "WHERE u.task_id = $1::uuid ORDER BY e.at, e.id",
            task_id,
        )
        return [(EventKind(row["kind"]), row["attempt"]) for row in rows]

    async def snapshot(self) -> dict[str, list[str]]:
        """Every row of the queue's tables, as text."""
        found = {}
        for table in QUEUE_TABLES:
            rows = await self.fetch(f"SELECT t::text AS row FROM treadle.{table} t")
            found[table] = sorted(row["row"] for row in rows)
        return found


@asynccontextmanager
async def open_engine(url: str) -> AsyncIterator[Engine]:
    """An engine that has the seat of this database."""
    engine = Engine(url)
    await engine.database.open()
    try:
        await engine.loop.open()
        yield engine
    finally:
        await engine.loop.close()
        await engine.database.close()


def completed(keys: Iterable[AttemptKey], output: bytes | None = b"{}") -> list[Completed]:
    return [Completed(task_id, attempt, output, None) for task_id, attempt in keys]


def failed(
    keys: Iterable[AttemptKey],
    error: str = "Boom: on purpose",
    *,
    should_not_retry: bool = False,
    retry_after: float | None = None,
) -> list[Failed]:
    return [Failed(task_id, attempt, error, should_not_retry, retry_after, None) for task_id, attempt in keys]


def started(keys: Iterable[AttemptKey], at: float) -> list[Started]:
    return [Started(task_id, attempt, at) for task_id, attempt in keys]


def logged(keys: Iterable[AttemptKey], message: str = "hello") -> list[LogLine]:
    return [LogLine(task_id, attempt, time.time(), "INFO", message, None) for task_id, attempt in keys]
