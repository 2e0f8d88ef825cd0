"""Everything that one commit changes, gathered in memory before it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.engine.ports import Ended, Happening, StopReason
from treadle.runtime.clock import moment
from treadle.storage.emit import EventGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from treadle.engine.attempt import Attempt
    from treadle.engine.catalog import TaskKind
    from treadle.engine.changes import Changes
    from treadle.engine.commands import LogLine
    from treadle.model.states import EventKind
    from treadle.storage.trigger import ChildRow


class Waiting(NamedTuple):
    """An attempt that waits for its backoff until `due_at` (epoch seconds)."""

    attempt: Attempt
    due_at: float


class PushedEvent(NamedTuple):
    """An event that a user pushed, with the id that it got; `at` in epoch seconds."""

    tenant_id: int
    id: str
    at: float
    key: str
    scope: str | None
    priority: int | None
    payload: bytes
    metadata: str | None


class Batch:
    """The changes of one commit, and what is to be told once it is done.

    Args:
        now: the commit's time, seconds since the epoch.
        followed: the runs whose events someone follows live.
    """

    def __init__(self, now: float, followed: Container[str | None] = ()) -> None:
        self.now = now
        self.followed = followed
        self.moment = moment(now)
        self.created: list[Attempt] = []
        # Of those, the children that no table need be asked about.
        self.children: list[ChildRow] = []
        self.ended: list[Attempt] = []
        self.results: list[Ended] = []
        self.waiting: list[Waiting] = []
        self.ready: list[Attempt] = []
        self.started: list[Attempt] = []
        self.logs: list[tuple[int, LogLine]] = []
        self.deadlines: list[Attempt] = []
        self.slots_released: list[Attempt] = []
        # (worker, slots) that came free, for the core.
        self.freed: list[tuple[str, tuple[tuple[str, int], ...]]] = []
        self.redelivered: list[Attempt] = []
        # Of workflow runs: those that begin, and tasks whose end their run has not been told of.
        self.begun: list[Attempt] = []
        self.steps_ended: list[Ended] = []
        self.changes: Changes | None = None
        # Tasks that were taken out of their queues, for the scheduler's windows to forget.
        self.withdrawn: list[str] = []
        self.pushed: list[PushedEvent] = []
        self.stops: list[tuple[str, str, int, StopReason]] = []
        self.happenings: list[Happening] = []
        self.after: list[Callable[[], None]] = []
        # What happened, by tenant and kind.
        self.events: dict[tuple[int, EventKind], EventGroup] = {}

    def followed_at_all(self, task_id: str, run_id: str | None) -> bool:
        """Whether someone follows a task, or the workflow run that it is a task of."""
        return task_id in self.followed or run_id in self.followed

    def show(
        self,
        kind: EventKind,
        attempt: int,
        task_kind: TaskKind,
        task_id: str,
        payload: str,
        run_id: str | None = None,
    ) -> None:
        """Tell those who follow a task, or its workflow run, if anyone does, once the commit is done."""
        if self.followed_at_all(task_id, run_id):
            self.happenings.append(Happening(kind, task_id, attempt, task_kind.definition.retries, payload, run_id))

    def note(self, kind: EventKind, tenant_id: int, task_id: str, attempt: int, detail: str | None = None) -> None:
        """Write an event into the log of this commit."""
        group = self.events.get((tenant_id, kind))
        if group is None:
            group = self.events[tenant_id, kind] = EventGroup(tenant_id, int(kind), [], [], [])
        group.task_ids.append(task_id)
        group.attempts.append(attempt)
        group.details.append(detail)
