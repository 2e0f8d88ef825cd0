"""One engine: the ledger's order of things around the real core, with the tables' model in place of Postgres."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tests.simulation.tables import Row, RunRow, Task, Timer
from treadle.engine.attempt import RETRY_POSITIONS, Attempt
from treadle.scheduler.events import (
    Assign,
    Available,
    Discarded,
    Found,
    Joined,
    Left,
    Need,
    Queued,
    Refilled,
    Released,
    Tick,
)

if TYPE_CHECKING:
    from tests.simulation.world import Worker, World

MAX_REASSIGNED = 10
BLOCK = 50
TIMEOUT = 40.0
WAITS_AT_MOST = 300.0

Command = Callable[["Engine", "Commit"], None]


class Superseded(Exception):  # noqa: N818 - as Postgres says it
    """Another engine may have taken over: the commit was refused."""


class Commit:
    """What one commit gathers besides its writes."""

    def __init__(self) -> None:
        # (task, whether it has run before)
        self.ready: list[tuple[Task, bool]] = []
        self.freed: list[tuple[str, Need]] = []
        # (worker, task, attempt) whose code is to stop.
        self.stops: list[tuple[str, str, int]] = []
        # The same, reported on: its worker can forget it.
        self.settled: list[tuple[str, str, int]] = []


class Engine:
    """Commits commands for the tenants that it owns; its memory can be thrown away at any time."""

    def __init__(self, name: str, world: World) -> None:
        self.id = name
        self.world = world
        self.tables = world.tables
        self.paused = False
        # Commands, each with the tenant that it is for.
        self.inbox: list[tuple[int, Command]] = []
        # The slots that each connected worker was counted with.
        self.resting: set[str] = set()
        self.counted: dict[str, dict[str, int]] = {}
        self.joined: dict[str, Worker] = {}
        self.load(())

    @property
    def quiet(self) -> bool:
        """Whether it has nothing to do."""
        return not self.inbox and not self.core.unfinished and not self.core.starving()

    # -- memory --------------------------------------------------------------------------------------------------

    def load(self, tenants: Iterable[int]) -> None:
        """Read the queues of these tenants from the tables; their connected workers stay connected."""
        now = self.world.now
        self.tenants = frozenset(tenants)
        self.core = self.world.new_core()
        # (task, attempt) -> slots of stopped attempts whose code has not ended.
        self.lingering: dict[tuple[str, int], tuple[str, Need]] = {}
        self.next_position = self.block_end = 0
        self.world.checks.reloaded(self.tenants)
        for queue_id, rows in self.tables.queues.items():
            if rows and rows[0].task.kind.tenant_id in self.tenants:
                self.core.apply(Found(queue_id, rows[0].task.kind.tenant_id), now)
        for worker in list(self.joined.values()):
            if worker.tenant_id in self.tenants:
                self.enlist(worker)
            else:
                self.part(worker)

    def part(self, worker: Worker) -> None:
        """The stream of a worker has closed."""
        if self.joined.pop(worker.id, None) is not None:
            self.core.apply(Left(worker.id), self.world.now)
            for key in [key for key, (holder, _) in self.lingering.items() if holder == worker.id]:
                del self.lingering[key]
            if worker.engine is self:
                worker.engine = None

    def enlist(self, worker: Worker) -> None:
        """A worker is connected: count its slots; what is its own but never reached it is delivered now."""
        self.joined[worker.id] = worker
        self.counted[worker.id] = dict(worker.capacity)
        for key in [key for key, (holder, _) in self.lingering.items() if holder == worker.id]:
            del self.lingering[key]
        rows = self.tables.by_worker.get(worker.id, {}).values()
        joined = Joined(
            worker.id,
            tenant_id=worker.tenant_id,
            queue_ids=worker.queues,
            capacity=worker.capacity,
            occupied=[row.task.kind.slots for row in rows if row.holds_slot],
        )
        self.core.apply(joined, self.world.now)
        self._set_available(worker)
        self.world.checks.counted_anew(worker.id)
        if worker.engine is self:
            worker.hand = {(row.task.id, row.attempt): None for row in rows}
            worker.stopping.clear()

    # -- one commit ----------------------------------------------------------------------------------------------

    def commit(self, *, lost: str = "") -> None:
        """Take what waits and commit it.

        Args:
            lost: "before" or "after" the database has carried it out; the engine cannot tell which.

        Raises:
            Superseded: the commit was refused.
        """
        if not self.tables.live(self.id):
            raise Superseded
        commands, self.inbox = self.inbox, []
        commit = Commit()
        for _, command in commands:
            command(self, commit)
        self._housekeep(commit)
        decided = self._choose(commit)
        if lost == "before":
            self.tables.roll_back()
        else:
            self.tables.commit()
            self.world.checks.committed(self, decided)
        if lost:
            self.inbox = commands
            self.load(self.tenants)
            return
        for worker_id, task_id, attempt in commit.settled:
            self.world.workers[worker_id].hand.pop((task_id, attempt), None)
        for decision in decided:
            # Unless its stream has broken, which this engine does not know yet.
            if self.joined[decision.worker_id].engine is self:
                self.joined[decision.worker_id].hand[decision.item.task_id, decision.item.attempt] = None
        for worker_id, task_id, attempt in commit.stops:
            worker = self.joined.get(worker_id)
            if worker is not None and (task_id, attempt) in worker.hand:
                del worker.hand[task_id, attempt]
                worker.stopping[task_id, attempt] = None

    def _housekeep(self, commit: Commit) -> None:
        tables = self.tables
        now = self.world.now
        mine = self.tenants
        for run in [run for run in tables.running.values() if run.timeout_at <= now]:
            if run.task.kind.tenant_id in mine:
                self._leave(run, commit, stopped=True)
                self._retry(run.task, commit, delay=0.0)
        for row in [row for row in tables.row_of.values() if row.expires_at <= now]:
            if row.task.kind.tenant_id in mine:
                self._unqueue(row)
        for timer in [timer for timer in tables.timers.values() if timer.due_at <= now]:
            if timer.task.kind.tenant_id in mine:
                tables.wake(timer)
                commit.ready.append((timer.task, True))

    def _choose(self, commit: Commit) -> list[Assign]:
        core = self.core
        now = self.world.now
        core.apply(Released(commit.freed), now)
        for wish in core.starving():
            rows = self.tables.beyond(wish.queue_id, wish.after, wish.limit)
            items = [self._load(row) for row in rows]
            core.apply(Refilled(wish.queue_id, items, complete=len(items) < wish.limit), now)
        ready = [self._place(task, returning=returning) for task, returning in commit.ready]
        core.apply(Queued(ready), now)
        decided = core.apply(Tick(self.world.limit), now)
        for decision in decided:
            item = decision.item
            if item.stored:
                self.tables.take(item.task_id, item.attempt, (item.rank, item.position))
            item.worker_id = decision.worker_id
            self.tables.run(self.tables.tasks[item.task_id], item.attempt, item.worker_id, now + TIMEOUT)
        for item in ready:
            if not item.worker_id:
                task = self.tables.tasks[item.task_id]
                self.tables.queue(Row(item.rank, item.position, task, item.attempt, now + WAITS_AT_MOST))
                item.stored = True
        return decided

    def _place(self, task: Task, *, returning: bool) -> Attempt:
        if self.next_position == self.block_end:
            self.next_position = self.tables.block(BLOCK)
            self.block_end = self.next_position + BLOCK
        position = self.next_position
        self.next_position += 1
        return new_item(task, RETRY_POSITIONS + position if returning else position)

    def _load(self, row: Row) -> Attempt:
        item = new_item(row.task, row.position)
        item.attempt = row.attempt
        item.stored = True
        return item

    # -- commands ------------------------------------------------------------------------------------------------

    def trigger(self, commit: Commit, tasks: list[Task]) -> None:
        """Runs are wanted; again, when it is not known whether they were stored."""
        for task in tasks:
            if not task.stored:
                self.tables.create(task)
                commit.ready.append((task, False))

    def complete(self, commit: Commit, worker_id: str, task_id: str, attempt: int) -> None:
        """A worker says that an attempt is done."""
        run = self._current(commit, worker_id, task_id, attempt)
        if run is not None:
            self._leave(run, commit)
            self.tables.end(run.task)

    def fail(self, commit: Commit, worker_id: str, task_id: str, attempt: int, delay: float) -> None:
        """A worker says that an attempt has failed."""
        run = self._current(commit, worker_id, task_id, attempt)
        if run is not None:
            self._leave(run, commit)
            self._retry(run.task, commit, delay=delay)

    def hand_back(self, commit: Commit, worker_id: str, task_id: str, attempt: int) -> None:
        """A worker gives an attempt back on purpose."""
        run = self._current(commit, worker_id, task_id, attempt)
        if run is not None:
            self._leave(run, commit)
            commit.ready.append((run.task, True))

    def stopped(self, commit: Commit, worker_id: str, task_id: str, attempt: int) -> None:
        """The code of a stopped attempt has ended."""
        if (task_id, attempt) in self.lingering:
            holder, need = self.lingering.pop((task_id, attempt))
            assert holder == worker_id
            commit.freed.append((worker_id, need))

    def release_slot(self, commit: Commit, task_id: str) -> None:
        """A running attempt needs its slot no more."""
        run = self.tables.running.get(task_id)
        if run is not None and run.holds_slot:
            self.tables.free_slot(run.task)
            commit.freed.append((run.worker_id, run.task.kind.slots))

    def cancel(self, commit: Commit, task_ids: list[str]) -> None:
        """Runs are to end, wherever they are."""
        for task_id in task_ids:
            task = self.tables.tasks.get(task_id)
            if task is None:
                continue
            if task.place == "queue":
                self._unqueue(self.tables.row_of[task_id])
            elif task.place == "run":
                self._leave(self.tables.running[task_id], commit, stopped=True)
                self.tables.end(task)
            elif task.place == "timer":
                self.tables.wake(self.tables.timers[task_id])
                self.tables.end(task)

    def replay(self, commit: Commit, task: Task) -> None:
        """An ended run is wanted again, under its own id."""
        if task in self.tables.recent and task.id not in self.tables.tasks:
            self.tables.revive(task)
            commit.ready.append((task, False))

    def join(self, commit: Commit, worker: Worker) -> None:
        """A worker has opened its stream here."""
        if worker.engine is self:
            self.enlist(worker)
            commit.freed = [entry for entry in commit.freed if entry[0] != worker.id]

    def gone(self, _commit: Commit, worker: Worker) -> None:
        """A worker's stream has closed."""
        if worker.engine is not self:
            self.part(worker)

    def rest(self, _commit: Commit, worker: Worker) -> None:
        """A worker rests or resumes."""
        if worker.id in self.joined:
            self._set_available(worker)

    def lose(self, commit: Commit, worker: Worker) -> None:
        """A worker is given up; what it ran runs elsewhere."""
        for run in list(self.tables.by_worker.get(worker.id, {}).values()):
            task = run.task
            self._leave(run, commit)
            if task.reassigned >= MAX_REASSIGNED:
                self.tables.end(task)
            else:
                task.reassigned += 1
                commit.ready.append((task, True))
        self.part(worker)

    def _set_available(self, worker: Worker) -> None:
        (self.resting.add if worker.resting else self.resting.discard)(worker.id)
        self.core.apply(Available(worker.id, available=not worker.resting), self.world.now)

    # -- what they have in common --------------------------------------------------------------------------------

    def _current(self, commit: Commit, worker_id: str, task_id: str, attempt: int) -> RunRow | None:
        """The running attempt that a report is about; None when it was superseded, or has ended."""
        commit.settled.append((worker_id, task_id, attempt))
        run = self.tables.running.get(task_id)
        return run if run is not None and (run.attempt, run.worker_id) == (attempt, worker_id) else None

    def _leave(self, run: RunRow, commit: Commit, *, stopped: bool = False) -> None:
        self.tables.close(run.task, run.attempt)
        need = run.task.kind.slots
        if stopped:
            commit.stops.append((run.worker_id, run.task.id, run.attempt))
            if run.holds_slot and run.worker_id in self.joined:
                self.lingering[run.task.id, run.attempt] = (run.worker_id, need)
                return
        if run.holds_slot:
            commit.freed.append((run.worker_id, need))

    def _retry(self, task: Task, commit: Commit, *, delay: float) -> None:
        if task.retries_used >= self.world.retries:
            self.tables.end(task)
            return
        task.retries_used += 1
        if delay > 0:
            self.tables.wait(Timer(task, task.attempt, self.world.now + delay))
        else:
            commit.ready.append((task, True))

    def _unqueue(self, row: Row) -> None:
        self.tables.take(row.task.id, row.attempt, row.key)
        self.tables.end(row.task)
        self.core.apply(Discarded([row.task.id]), self.world.now)


def new_item(task: Task, position: int) -> Attempt:
    """An attempt of a task at its place in the queue."""
    item = Attempt(
        kind=task.kind,
        task_id=task.id,
        attempt=task.attempt,
        priority=task.priority,
        input=None,
        metadata=None,
        parent_id=None,
        child_index=None,
        child_key=None,
        created_at=0.0,
    )
    item.position = position
    return item
