"""The scheduler against a model too simple to be wrong, with a window so small that everything overflows it.

The model is a plain list of what is queued, as the table would hold it. Whatever happens, nothing is lost, nothing is
given twice, no slot is used twice, and within a queue nothing less urgent goes first.
"""

from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.scheduler.plain import TENANT, Need, attempt, kind
from treadle.engine.attempt import Attempt
from treadle.engine.catalog import TaskKind
from treadle.scheduler.core import Core
from treadle.scheduler.events import Available, Discarded, Found, Joined, Left, Queued, Refilled, Released, Tick

QUEUES = (1, 2, 3)
NEEDS: tuple[Need, ...] = ((("default", 1),), (("default", 2),), (("default", 1), ("gpu", 1)))
WORKERS = ("a", "b", "c")
NOW = 1_000.0


class Row(NamedTuple):
    """A queued attempt in the table."""

    rank: int
    position: int
    task_id: str
    kind: TaskKind
    number: int

    @property
    def key(self) -> tuple[int, int]:
        return self.rank, self.position


class Worker(NamedTuple):
    """What the model knows of a worker."""

    queues: tuple[int, ...]
    capacity: dict[str, int]


class CoreModel(RuleBasedStateMachine):
    """Commits as the ledger makes them: refill, offer, assign, then the tables."""

    @initialize(window=st.integers(2, 7), limit=st.integers(1, 9))
    def begin(self, window: int, limit: int) -> None:
        self.window = window
        self.limit = limit
        self.core = Core(window=window)
        self.position = 0
        self.table: dict[str, Row] = {}
        self.running: dict[str, tuple[str, Row]] = {}
        self.workers: dict[str, Worker] = {}
        self.resting: set[str] = set()
        self.kinds = {(queue, need): kind(queue, need) for queue in QUEUES for need in NEEDS}

    # -- one commit ----------------------------------------------------------------------------------------------

    def commit(self, ready: list[Attempt] | None = None) -> None:
        """As the loop does: again and again until nothing is left to do."""
        while True:
            self.commit_once(ready or [])
            ready = []
            if not self.core.starving() and not self.core.unfinished:
                break
        self.check_nothing_could_be_given()

    def commit_once(self, ready: list[Attempt]) -> None:
        for wish in self.core.starving():
            rows = sorted(row for row in self.table.values() if row.kind.queue_id == wish.queue_id)
            beyond = [self.load(row) for row in rows if row.key > wish.after][: wish.limit]
            self.core.apply(Refilled(wish.queue_id, beyond, complete=len(beyond) < wish.limit), NOW)
        self.core.apply(Queued(ready), NOW)
        for item in ready:
            assert item.task_id not in self.table
            self.table[item.task_id] = Row(item.rank, item.position, item.task_id, item.kind, item.attempt)
        decided = self.core.apply(Tick(self.limit), NOW)
        assert len(decided) <= self.limit
        chosen = [decision.item for decision in decided]
        for decision in decided:
            decision.item.worker_id = decision.worker_id
        for item in chosen:
            row = self.table.pop(item.task_id)
            assert (row.rank, row.position, row.number) == (item.rank, item.position, item.attempt)
            worker = self.workers[item.worker_id]
            assert item.worker_id not in self.resting
            assert row.kind.queue_id in worker.queues
            assert self.fits(item.worker_id, row)
            self.running[item.task_id] = (item.worker_id, row)
        self.check_order(chosen)

    def check_order(self, chosen: list[Attempt]) -> None:
        for queue in QUEUES:
            keys = [(item.rank, item.position) for item in chosen if item.kind.queue_id == queue]
            assert keys == sorted(keys)
            left = [row.key for row in self.table.values() if row.kind.queue_id == queue]
            if keys and left:
                assert keys[-1] < min(left)

    def check_nothing_could_be_given(self) -> None:
        for queue in QUEUES:
            rows = sorted(row for row in self.table.values() if row.kind.queue_id == queue)
            for worker_id, worker in self.workers.items():
                if rows and queue in worker.queues and worker_id not in self.resting:
                    assert not self.fits(worker_id, rows[0])

    def free(self, worker_id: str) -> dict[str, int]:
        free = dict(self.workers[worker_id].capacity)
        for holder, row in self.running.values():
            if holder == worker_id:
                for slot_type, units in row.kind.slots:
                    free[slot_type] = free.get(slot_type, 0) - units
        return free

    def fits(self, worker_id: str, row: Row) -> bool:
        free = self.free(worker_id)
        return all(free.get(slot_type, 0) >= units for slot_type, units in row.kind.slots)

    def load(self, row: Row) -> Attempt:
        """An item read back from the table."""
        item = attempt(row.kind, 0, priority=-row.rank, number=row.number)
        item.task_id = row.task_id
        item.position = row.position
        item.stored = True
        return item

    def new(self, of: TaskKind, priority: int, *, returning: bool = False, number: int = 1) -> Attempt:
        self.position += 1
        return attempt(of, self.position, priority=priority, returning=returning, number=number)

    def again(self, row: Row, *, returning: bool = True) -> Attempt:
        item = self.new(row.kind, -row.rank, returning=returning, number=row.number + 1)
        item.task_id = row.task_id
        return item

    # -- what can happen -----------------------------------------------------------------------------------------

    @rule(
        queue=st.sampled_from(QUEUES),
        wanted=st.lists(st.tuples(st.sampled_from(NEEDS), st.integers(1, 3)), min_size=1, max_size=12),
    )
    def trigger(self, queue: int, wanted: list[tuple[Need, int]]) -> None:
        self.commit([self.new(self.kinds[queue, need], priority) for need, priority in wanted])

    @rule(
        name=st.sampled_from(WORKERS),
        queues=st.lists(st.sampled_from(QUEUES), unique=True, max_size=3),
        default=st.integers(0, 4),
        gpu=st.integers(0, 2),
    )
    def join(self, name: str, queues: list[int], default: int, gpu: int) -> None:
        """A worker comes, or comes again with other slots and goes on with what it has."""
        self.workers[name] = Worker(tuple(queues), {"default": default, "gpu": gpu})
        self.resting.discard(name)
        self.enlist(name)
        self.commit()

    def enlist(self, name: str) -> None:
        worker = self.workers[name]
        occupied = [row.kind.slots for holder, row in self.running.values() if holder == name]
        joined = Joined(name, tenant_id=TENANT, queue_ids=worker.queues, capacity=worker.capacity, occupied=occupied)
        self.core.apply(joined, NOW)
        self.core.apply(Available(name, available=name not in self.resting), NOW)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """A worker goes, and what it had runs elsewhere."""
        name = data.draw(st.sampled_from(sorted(self.workers)))
        del self.workers[name]
        self.core.apply(Left(name), NOW)
        gone = [row for holder, row in self.running.values() if holder == name]
        for row in gone:
            del self.running[row.task_id]
        self.commit([self.again(row) for row in gone])

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), available=st.booleans())
    def rest_or_resume(self, data: st.DataObject, available: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.workers)))
        (self.resting.discard if available else self.resting.add)(name)
        self.core.apply(Available(name, available=available), NOW)
        self.commit()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), outcome=st.sampled_from(["complete", "retry", "complete", "complete"]))
    def end(self, data: st.DataObject, outcome: str) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.running)), unique=True, min_size=1, max_size=5))
        ready = []
        for task_id in ids:
            name, row = self.running.pop(task_id)
            self.core.apply(Released([(name, row.kind.slots)]), NOW)
            if outcome == "retry":
                ready.append(self.again(row))
        self.commit(ready)

    @precondition(lambda self: self.table)
    @rule(data=st.data(), replay=st.booleans())
    def cancel(self, data: st.DataObject, replay: bool) -> None:
        """Queued runs are cancelled; some are replayed at once and stand in the queue again under their own id."""
        ids = data.draw(st.lists(st.sampled_from(sorted(self.table)), unique=True, min_size=1, max_size=6))
        rows = [self.table.pop(task_id) for task_id in ids]
        self.core.apply(Discarded(row.task_id for row in rows), NOW)
        self.commit()
        if replay:
            self.commit([self.again(row, returning=False) for row in rows])

    @rule()
    def reload(self) -> None:
        """Memory is thrown away and read from the tables."""
        self.core = Core(window=self.window)
        for queue in sorted({row.kind.queue_id for row in self.table.values()}):
            self.core.apply(Found(queue, TENANT), NOW)
        for name in self.workers:
            self.enlist(name)
        self.commit()

    # -- what must hold ------------------------------------------------------------------------------------------

    @invariant()
    def slots_are_counted_right(self) -> None:
        for name in getattr(self, "workers", ()):
            free = {slot_type: units for slot_type, units in self.core._workers[name].free.items() if units}
            assert free == {slot_type: units for slot_type, units in self.free(name).items() if units}

    @invariant()
    def the_window_holds_what_the_table_holds(self) -> None:
        if not hasattr(self, "core"):
            return
        for task_id, item in self.core._items.items():
            row = self.table[task_id]
            assert (row.rank, row.position, row.number) == (item.rank, item.position, item.attempt)
        for line in self.core._lines.values():
            held = [item for lane in line.lanes for item in lane if not item.gone]
            assert line.size == len(held) <= 2 * self.window + 1
            assert {item.task_id for item in held} <= self.core._items.keys()
            # Everything up to the tail is in the window: what lies beyond it is the table's.
            rows = [row for row in self.table.values() if row.kind.queue_id == line.queue_id]
            assert {row.task_id for row in rows if row.key <= line.tail} == {item.task_id for item in held}
            assert line.complete == (line.queue_id not in self.core._partial)

    @invariant()
    def a_drained_window_is_all_there_is(self) -> None:
        for line in getattr(self, "core", Core())._lines.values():
            if line.complete:
                assert line.size == sum(row.kind.queue_id == line.queue_id for row in self.table.values())


TestCoreModel = CoreModel.TestCase
TestCoreModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
