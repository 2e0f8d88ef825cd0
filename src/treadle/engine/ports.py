"""What the engine's loop tells others once a commit is done: workers, and those who wait for news."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence
    from datetime import datetime

    from treadle.engine.attempt import Attempt
    from treadle.engine.catalog import TaskKind
    from treadle.model.states import EventKind, RunStatus


class StopReason(IntEnum):
    """Why a worker should stop an attempt; the numbers are those of treadle.v1.Cancel."""

    CANCELLED = 1
    SUPERSEDED = 2
    TIMED_OUT = 3


class WorkerPort(Protocol):
    """The way to one connected worker. No call blocks: what is outstanding is bounded by the worker's slots."""

    def deliver(self, attempts: Sequence[Attempt]) -> None:
        """Send attempts to be run."""
        ...

    def stop(self, task_id: str, attempt: int, reason: StopReason) -> None:
        """Tell the worker to stop an attempt."""
        ...

    def close(self) -> None:
        """End the stream, so that a worker that is still there opens another."""
        ...


class StepEnd(NamedTuple):
    """How one task of a workflow run has ended."""

    name: str
    task_id: str
    status: RunStatus
    attempt: int
    output: bytes | None
    error: str | None
    finished_at: datetime | None = None


class Ended(NamedTuple):
    """A run that has reached its end. Times in epoch seconds; the attempt may never have been assigned."""

    kind: TaskKind
    task_id: str
    attempt: int
    status: RunStatus
    retries_used: int
    worker_id: str | None
    assigned_at: float | None
    started_at: float | None
    error: str | None
    output: bytes | None
    # The workflow run that it is a task of.
    run_id: str | None = None
    # Of a workflow run: how its tasks have ended, where memory knows it of each. To be asked only when this is told.
    steps: Callable[[], Sequence[StepEnd] | None] | None = None


class Happening(NamedTuple):
    """One event of one run, as subscribers see it live."""

    kind: EventKind
    task_id: str
    attempt: int
    retries: int
    payload: str
    # The workflow run that it is a task of.
    run_id: str | None = None


class Audience(Protocol):
    """Those who wait for news of runs."""

    def tell_ended(self, ended: Sequence[Ended]) -> None:
        """Runs have ended, durably."""
        ...

    @property
    def followed(self) -> Container[str | None]:
        """The runs whose events someone follows live."""
        ...

    def tell_happened(self, happenings: Sequence[Happening]) -> None:
        """Something happened to runs that are followed."""
        ...

    def look_again(self) -> None:
        """The database was away: runs may have ended whose end was never told."""
        ...
