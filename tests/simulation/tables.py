"""The tables around the scheduler, in memory: what is durable, changed in whole commits, each change checked."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from treadle.engine.catalog import TaskKind
from treadle.scheduler.events import Key

EXPIRY = 3.0
"""Seconds of an engine's silence after which its tenants may be taken."""


class Violation(AssertionError):  # noqa: N818 - it is what is looked for
    """Something happened that must never happen."""


def must(condition: bool, *complaint: object) -> None:
    """Check an invariant."""
    if not condition:
        raise Violation(" ".join(str(part) for part in complaint))


@dataclass(slots=True)
class Task:
    """A run that has not ended: it is in exactly one place, and its attempts follow each other without a gap."""

    id: str
    kind: TaskKind
    priority: int
    # The attempt to come, or the one that runs.
    attempt: int = 1
    place: str = ""
    retries_used: int = 0
    reassigned: int = 0
    # Whether it was ever stored: a client that cannot know asks again, and gets the same run.
    stored: bool = False


class Row(NamedTuple):
    """A queued attempt."""

    rank: int
    position: int
    task: Task
    attempt: int
    expires_at: float

    @property
    def key(self) -> Key:
        return self.rank, self.position


@dataclass(slots=True)
class RunRow:
    """A running attempt."""

    task: Task
    attempt: int
    worker_id: str
    timeout_at: float
    holds_slot: bool = True


class Timer(NamedTuple):
    """An attempt that waits for its backoff."""

    task: Task
    attempt: int
    due_at: float


@dataclass
class Tables:
    """Everything that outlives an engine."""

    tasks: dict[str, Task] = field(default_factory=dict)
    queues: dict[int, list[Row]] = field(default_factory=dict)
    row_of: dict[str, Row] = field(default_factory=dict)
    running: dict[str, RunRow] = field(default_factory=dict)
    by_worker: dict[str, dict[str, RunRow]] = field(default_factory=dict)
    timers: dict[str, Timer] = field(default_factory=dict)
    # Ended a moment ago: they can be replayed.
    recent: list[Task] = field(default_factory=list)
    beats: dict[str, float] = field(default_factory=dict)
    owners: dict[int, str] = field(default_factory=dict)
    blocks: int = 0
    created: int = 0
    ended: int = 0
    _touched: dict[str, Task] = field(default_factory=dict)
    _undo: list[Callable[[], object]] = field(default_factory=list)

    def roll_back(self) -> None:
        """Undo everything since the last commit."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()
        self._touched.clear()

    def commit(self) -> None:
        """Everything since the last commit stays; no task may be nowhere."""
        for task in self._touched.values():
            must(task.place != "" or task.id not in self.tasks, "lost: task", task.id, "is nowhere")
        self._undo.clear()
        self._touched.clear()
        must(
            len(self.row_of) + len(self.running) + len(self.timers) == len(self.tasks),
            "lost or doubled:",
            len(self.tasks),
            "tasks, but",
            (len(self.row_of), len(self.running), len(self.timers)),
        )
        must(self.created == self.ended + len(self.tasks), "tasks have appeared or vanished")

    def block(self, size: int) -> int:
        """Reserve positions; a sequence, so not undone when a commit fails."""
        self.blocks += size
        return self.blocks - size

    def live(self, engine_id: str) -> bool:
        """Whether an engine's commits are accepted, whatever it believes itself."""
        return engine_id in self.beats

    def bury(self, now: float) -> bool:
        """Forget engines that are silent, and whom they owned; whether there was one."""
        silent = {engine_id for engine_id, at in self.beats.items() if now - at > EXPIRY}
        for engine_id in silent:
            del self.beats[engine_id]
        self.owners = {tenant: owner for tenant, owner in self.owners.items() if owner not in silent}
        return bool(silent)

    def beyond(self, queue_id: int, after: Key, limit: int) -> list[Row]:
        """A queue's next rows after a key."""
        rows = self.queues.get(queue_id, [])
        index = bisect_right(rows, after, key=_key)
        return rows[index : index + limit]

    def count_to(self, queue_id: int, key: Key) -> int:
        """How many rows of a queue stand up to a key."""
        return bisect_right(self.queues.get(queue_id, []), key, key=_key)

    # -- writes --------------------------------------------------------------------------------------------------

    def create(self, task: Task) -> None:
        """A task begins."""
        must(task.id not in self.tasks, "task", task.id, "was created twice")
        self._note(task)
        self._undo.append(lambda: self.tasks.pop(task.id))
        self.tasks[task.id] = task
        task.stored = True
        self.created += 1

    def revive(self, task: Task) -> None:
        """An ended task begins anew, its attempts go on counting."""
        self._note(task)
        self.recent.remove(task)
        self._undo.append(lambda: self.recent.append(task))
        task.retries_used = task.reassigned = 0
        self.create(task)

    def queue(self, row: Row) -> None:
        """An attempt stands in its queue."""
        self._put(row.task, row.attempt, "queue")
        rows = self.queues.setdefault(row.task.kind.queue_id, [])
        index = bisect_left(rows, row.key, key=_key)
        must(index == len(rows) or rows[index].key != row.key, "two rows at", row.key)
        rows.insert(index, row)
        self.row_of[row.task.id] = row
        self._undo += (partial(rows.remove, row), partial(self.row_of.pop, row.task.id))

    def take(self, task_id: str, attempt: int, key: Key) -> None:
        """An attempt leaves its queue."""
        row = self.row_of.get(task_id)
        if row is None:
            raise Violation(f"assigned twice: no row for task {task_id}")
        must((row.attempt, row.key) == (attempt, key), "the window holds", (attempt, key), "the table", row)
        rows = self.queues[row.task.kind.queue_id]
        index = bisect_left(rows, key, key=_key)
        del rows[index], self.row_of[task_id]
        self._undo += (partial(rows.insert, index, row), partial(self.row_of.update, {task_id: row}))
        self._lift(row.task, "queue")

    def run(self, task: Task, attempt: int, worker_id: str, timeout_at: float) -> None:
        """An attempt runs."""
        must(task.id not in self.running, "task", task.id, "runs twice")
        self._put(task, attempt, "run")
        row = self.running[task.id] = RunRow(task, attempt, worker_id, timeout_at)
        of_worker = self.by_worker.setdefault(worker_id, {})
        of_worker[task.id] = row
        self._undo += (partial(self.running.pop, task.id), partial(of_worker.pop, task.id))

    def close(self, task: Task, attempt: int) -> RunRow:
        """An attempt runs no more; the next one may come."""
        row = self.running.pop(task.id)
        must(row.attempt == attempt, "a superseded attempt was accepted:", task.id, attempt, "for", row.attempt)
        of_worker = self.by_worker[row.worker_id]
        del of_worker[task.id]
        self._undo += (partial(self.running.update, {task.id: row}), partial(of_worker.update, {task.id: row}))
        self._lift(task, "run")
        task.attempt += 1
        return row

    def free_slot(self, task: Task) -> None:
        """An attempt runs on without its slot."""
        row = self.running[task.id]
        row.holds_slot = False
        self._undo.append(partial(setattr, row, "holds_slot", True))

    def wait(self, timer: Timer) -> None:
        """An attempt waits for its backoff."""
        self._put(timer.task, timer.attempt, "timer")
        self.timers[timer.task.id] = timer
        self._undo.append(lambda: self.timers.pop(timer.task.id))

    def wake(self, timer: Timer) -> None:
        """A backoff has passed."""
        must(self.timers.pop(timer.task.id) is timer, "a timer fired twice")
        self._undo.append(lambda: self.timers.update({timer.task.id: timer}))
        self._lift(timer.task, "timer")

    def end(self, task: Task) -> None:
        """A task ends."""
        must(self.tasks.get(task.id) is task, "task", task.id, "ended twice")
        must(task.place == "", "task", task.id, "ended while in", task.place)
        self._note(task)
        recent = list(self.recent)
        self._undo += (partial(self.tasks.update, {task.id: task}), partial(setattr, self, "recent", recent))
        del self.tasks[task.id]
        self.ended += 1
        self.recent = [*recent[-19:], task]

    def _put(self, task: Task, attempt: int, place: str) -> None:
        must(self.tasks.get(task.id) is task, "task", task.id, "has ended")
        must(task.place == "", "task", task.id, "is in", task.place, "and in", place)
        must(task.attempt == attempt, "attempt", attempt, "of", task.id, "where", task.attempt, "was due")
        self._note(task)
        task.place = place

    def _lift(self, task: Task, place: str) -> None:
        must(task.place == place, "task", task.id, "is not in", place)
        self._note(task)
        task.place = ""

    def _note(self, task: Task) -> None:
        """Before the first change of a task in a commit, and of the counters."""
        if task.id not in self._touched:
            self._touched[task.id] = task
            before = (task.attempt, task.place, task.retries_used, task.reassigned, task.stored)
            counts = (self.created, self.ended)

            def undo() -> None:
                task.attempt, task.place, task.retries_used, task.reassigned, task.stored = before
                self.created, self.ended = counts

            self._undo.append(undo)


def _key(row: Row) -> Key:
    return row.key
