"""What callers ask of the engine's loop. Each is answered once its effect is durable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence

    from treadle.engine.attempt import Attempt
    from treadle.engine.ports import StopReason, WorkerPort


class Started(NamedTuple):
    """A worker has begun an attempt; `started_at` in seconds since the epoch."""

    task_id: str
    attempt: int
    started_at: float


class Completed(NamedTuple):
    """An attempt has succeeded. `attempt` 0 means the current one; `output` is JSON."""

    task_id: str
    attempt: int
    output: bytes | None
    started_at: float | None


class Failed(NamedTuple):
    """An attempt has failed. `attempt` 0 means the current one; `retry_after` in seconds replaces the backoff."""

    task_id: str
    attempt: int
    error: str
    should_not_retry: bool
    retry_after: float | None
    started_at: float | None


class LogLine(NamedTuple):
    """A line that a task wrote; `metadata` is a JSON object or None."""

    task_id: str
    attempt: int
    at: float
    level: str
    message: str
    metadata: str | None


_T = TypeVar("_T")

ROW_BYTES = 4096
"""So much payload counts as one row towards the bound of the inbox, and of a commit."""

AttemptKey = tuple[str, int]


class Stale(NamedTuple):
    """A report about an attempt that is not current: it changed nothing, and its worker should stop."""

    task_id: str
    attempt: int
    reason: StopReason


@dataclass(slots=True)
class Command:
    """Base of the commands: `size` counts towards the inbox's bound, `alone` ones are committed by themselves."""

    @property
    def size(self) -> int:
        """How many rows it is about."""
        return 1

    @property
    def alone(self) -> bool:
        """Whether it reads rows that others of the same commit may be changing."""
        return False

    def split(self) -> list[Command]:
        """Smaller commands with the same effect, to find the one item that the database refuses."""
        return []

    def fail(self, error: BaseException) -> None:
        """Answer with an error."""
        raise NotImplementedError


@dataclass(slots=True)
class Trigger(Command):
    """Create task runs. The answer is the id of each: its own, or that of the child that existed already."""

    tasks: list[Attempt]
    answer: Callable[[list[str | BaseException]], None]
    # After a commit with an unknown outcome some of these may be stored already.
    uncertain: bool = False

    @property
    def size(self) -> int:
        """How many runs, and how many rows' worth of inputs."""
        return len(self.tasks) + sum([len(task.input or b"") for task in self.tasks]) // ROW_BYTES

    def split(self) -> list[Command]:
        """Two halves whose answers are put together again."""
        if len(self.tasks) < 2:
            return []
        middle = len(self.tasks) // 2
        halves: list[list[str | BaseException] | None] = [None, None]

        def put(index: int) -> Callable[[list[str | BaseException]], None]:
            def answer(outcomes: list[str | BaseException]) -> None:
                halves[index] = outcomes
                first, second = halves
                if first is not None and second is not None:
                    self.answer(first + second)

            return answer

        return [
            Trigger(self.tasks[:middle], put(0), self.uncertain),
            Trigger(self.tasks[middle:], put(1), self.uncertain),
        ]

    def fail(self, error: BaseException) -> None:
        """The same error for every run of it."""
        self.answer([error] * len(self.tasks))


@dataclass(slots=True)
class Report(Command):
    """What a worker reports in one frame or call. `worker_id` "" stands for whichever worker has the attempt."""

    tenant_id: int
    worker_id: str
    answer: Callable[[list[AttemptKey], list[Stale], BaseException | None], None]
    started: Sequence[Started] = ()
    completed: Sequence[Completed] = ()
    failed: Sequence[Failed] = ()
    handed_back: Sequence[AttemptKey] = ()
    # Attempts that died with a process of the worker, while the worker itself lives on.
    lost: Sequence[AttemptKey] = ()
    stopped: Sequence[AttemptKey] = ()
    # Attempts that the worker says it runs, and that may not be current.
    running: Sequence[AttemptKey] = ()
    logs: Sequence[LogLine] = ()
    # Whether a start must be stored at once, because the worker cannot tell later what it runs.
    keep_starts: bool = False
    # Whether lines of attempts that are over are kept, because the worker sends them apart from its results.
    late_logs: bool = False

    @property
    def size(self) -> int:
        """How many reports, and how many rows' worth of outputs."""
        return self.count + sum([len(done.output or b"") for done in self.completed]) // ROW_BYTES

    @property
    def count(self) -> int:
        """How many reports."""
        lists = (self.started, self.completed, self.failed, self.handed_back, self.lost, self.logs)
        return sum(len(entries) for entries in lists)

    def split(self) -> list[Command]:
        """One command per report."""
        if self.count < 2:
            return []
        base = {
            "tenant_id": self.tenant_id,
            "worker_id": self.worker_id,
            "answer": self.answer,
            "keep_starts": self.keep_starts,
            "late_logs": self.late_logs,
        }
        parts: list[Command] = [
            Report(**base, **{name: [entry]})  # type: ignore[arg-type]  # the fields of this very class
            for name in ("logs", "started", "completed", "failed", "handed_back", "lost")
            for entry in getattr(self, name)
        ]
        if self.stopped or self.running:
            parts.append(
                Report(self.tenant_id, self.worker_id, self.answer, stopped=self.stopped, running=self.running)
            )
        return parts

    def fail(self, error: BaseException) -> None:
        """Nothing is settled: the worker keeps its reports."""
        self.answer([], [], error)


@dataclass(slots=True)
class Cancel(Command):
    """Cancel runs that have not ended. The answer lists those that were cancelled."""

    tenant_id: int
    task_ids: list[str]
    future: asyncio.Future[list[str]]
    # Also what these runs have spawned, and so on.
    children: bool = False

    @property
    def alone(self) -> bool:
        """It takes rows out of the queue."""
        return True

    def fail(self, error: BaseException) -> None:
        """Nothing was cancelled."""
        reject(self.future, error)


@dataclass(slots=True)
class Replay(Command):
    """Run ended runs again under their own ids. The answer lists those that were queued."""

    tenant_id: int
    task_ids: list[str]
    future: asyncio.Future[list[str]]

    @property
    def alone(self) -> bool:
        """It takes results away."""
        return True

    def fail(self, error: BaseException) -> None:
        """Nothing is replayed."""
        reject(self.future, error)


@dataclass(slots=True)
class RefreshTimeout(Command):
    """Move the deadline of a running attempt by `seconds`. The answer is the new deadline in epoch seconds."""

    tenant_id: int
    task_id: str
    seconds: float
    future: asyncio.Future[float]

    def fail(self, error: BaseException) -> None:
        """The deadline stays."""
        reject(self.future, error)


@dataclass(slots=True)
class ReleaseSlot(Command):
    """Give back the slot of a running attempt that goes on without one."""

    tenant_id: int
    task_id: str
    future: asyncio.Future[None]

    def fail(self, error: BaseException) -> None:
        """The slot stays taken."""
        reject(self.future, error)


@dataclass(slots=True)
class WorkerJoined(Command):
    """A worker's stream is open: it may be given work.

    `in_hand` lists the attempts that the worker still has; None when its protocol cannot say.
    """

    tenant_id: int
    worker_id: str
    queue_ids: Sequence[int]
    capacity: Mapping[str, int]
    port: WorkerPort
    in_hand: set[AttemptKey] | None
    paused: bool = False

    def fail(self, error: BaseException) -> None:
        """The stream will be closed by whoever opened it."""


@dataclass(slots=True)
class WorkerChanged(Command):
    """A worker stops or resumes taking work, or its stream has closed (`gone`).

    It rests because somebody wants it to (a pause, a drain), or because it is silent (`pulse`): neither reason ends
    the other.
    """

    tenant_id: int
    worker_id: str
    port: WorkerPort | None
    available: bool = False
    gone: bool = False
    pulse: bool = False

    def fail(self, error: BaseException) -> None:
        """It will be seen again at the next change."""


@dataclass(slots=True)
class WorkerLost(Command):
    """A worker has been silent for too long: its attempts run elsewhere."""

    tenant_id: int
    worker_id: str

    def fail(self, error: BaseException) -> None:
        """The liveness watch says it again."""


@dataclass(slots=True)
class Redeliver(Command):
    """Send again what a worker should run but, it seems, never got."""

    tenant_id: int
    worker_id: str
    port: WorkerPort
    unstarted_since: float

    def fail(self, error: BaseException) -> None:
        """The execution timeout catches what stays undelivered."""


class NewEvent(NamedTuple):
    """An event that a user pushes; `payload` is a JSON object, `metadata` one as text or None."""

    key: str
    payload: bytes
    metadata: str | None
    scope: str | None
    priority: int | None


@dataclass(slots=True)
class Push(Command):
    """Store events and let them meet conditions. The answer is the id of each, in order."""

    tenant_id: int
    events: list[NewEvent]
    answer: Callable[[list[str | BaseException]], None]
    # The ids they got when last tried; after a commit with an unknown outcome they may be stored already.
    ids: list[str] = field(default_factory=list)
    uncertain: bool = False

    @property
    def size(self) -> int:
        """How many events, and how many rows' worth of payloads."""
        return len(self.events) + sum([len(event.payload) for event in self.events]) // ROW_BYTES

    def split(self) -> list[Command]:
        """One command per event, whose answers are put together again."""
        count = len(self.events)
        if count < 2:
            return []
        outcomes: list[str | BaseException | None] = [None] * count
        left = count

        def put(index: int) -> Callable[[list[str | BaseException]], None]:
            def answer(outcome: list[str | BaseException]) -> None:
                nonlocal left
                [outcomes[index]] = outcome
                left -= 1
                if left == 0:
                    self.answer([entry for entry in outcomes if entry is not None])

            return answer

        return [Push(self.tenant_id, [event], put(index)) for index, event in enumerate(self.events)]

    def fail(self, error: BaseException) -> None:
        """The same error for every event of it."""
        self.answer([error] * len(self.events))


def tenant_of(command: Command) -> int:
    """Whose command it is."""
    if isinstance(command, Trigger):
        return command.tasks[0].kind.tenant_id
    tenant_id: int = command.tenant_id  # type: ignore[attr-defined]  # every other command has one
    return tenant_id


def reject(future: asyncio.Future[Any], error: BaseException) -> None:
    """Fail a future unless its caller has gone."""
    if not future.done():
        future.set_exception(error)


def resolve(future: asyncio.Future[_T], value: _T) -> None:
    """Answer a future unless its caller has gone."""
    if not future.done():
        future.set_result(value)
