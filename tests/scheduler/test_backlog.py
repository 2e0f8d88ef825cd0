"""A million queued tasks: the core holds a window of them, and chooses as fast as with ten thousand.

No clock: objects and calls are counted, and those are the same on every machine.
"""

import gc
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Self

from tests.scheduler.plain import ONE, TENANT, kind
from treadle.engine.attempt import Attempt
from treadle.scheduler.core import WINDOW, Core
from treadle.scheduler.events import Assign, Available, Discarded, Found, Joined, Queued, Refilled, Released, Tick

MILLION = 1_000_000
SLOTS = 500
NOW = 1_000.0
KIND = kind()


class Table:
    """A queue of so many rows of one rank; a row becomes an object when it is read."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.read = 0

    def item(self, position: int) -> Attempt:
        item = Attempt(
            kind=KIND,
            task_id=f"{position:036d}",
            attempt=1,
            priority=1,
            input=None,
            metadata=None,
            parent_id=None,
            child_index=None,
            child_key=None,
            created_at=0.0,
        )
        item.position = position
        return item

    def refill(self, core: Core) -> None:
        for wish in core.starving():
            begin = max(wish.after[1] + 1, 0)
            items = [self.item(position) for position in range(begin, min(begin + wish.limit, self.size))]
            self.read += len(items)
            core.apply(Refilled(wish.queue_id, items, complete=len(items) < wish.limit), NOW)


class CountedCalls:
    """How many calls of the scheduler's functions are made."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        self._before = sys.getprofile()
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._before)

    def _note(self, frame: FrameType, event: str, _argument: object) -> None:
        # The garbage collector calls functions too, whenever it likes.
        self.count += event == "call" and frame.f_globals["__name__"].startswith("treadle.scheduler")


def connect(core: Core) -> None:
    core.apply(Joined("w", tenant_id=TENANT, queue_ids=[1], capacity={"default": SLOTS}), NOW)
    core.apply(Available("w", available=True), NOW)


def attempts_in_memory() -> int:
    gc.collect()
    # Those of this module's kind: other tests leave attempts of theirs behind.
    return sum(type(found) is Attempt and found.kind is KIND for found in gc.get_objects())


def drain(core: Core, table: Table, ticks: int) -> Iterator[list[Assign]]:
    decided: list[Assign] = []
    for _ in range(ticks):
        core.apply(Released([(decision.worker_id, ONE) for decision in decided]), NOW)
        table.refill(core)
        decided = core.apply(Tick(SLOTS), NOW)
        yield decided


def test_a_million_offered_tasks_leave_one_window_in_memory() -> None:
    core = Core()
    table = Table(MILLION)
    before = attempts_in_memory()
    core.apply(Queued(table.item(position) for position in range(MILLION)), NOW)
    assert attempts_in_memory() - before == WINDOW
    connect(core)
    given = [decision.item.position for decided in drain(core, table, 40) for decision in decided]
    assert given == list(range(40 * SLOTS))
    assert attempts_in_memory() - before <= 2 * WINDOW
    # Each row is read once, and not much sooner than it is given away.
    assert table.read <= 40 * SLOTS + WINDOW


def test_a_choice_costs_the_same_however_many_wait() -> None:
    calls = []
    for size in (30_000, MILLION):
        core = Core()
        core.apply(Found(1, TENANT), NOW)
        connect(core)
        with CountedCalls() as counted:
            given = sum(len(decided) for decided in drain(core, Table(size), 40))
        assert given == 40 * SLOTS
        calls.append(counted.count)
    assert calls[0] == calls[1]


def test_the_urgent_need_not_wait_for_the_million() -> None:
    core = Core()
    table = Table(MILLION)
    core.apply(Found(1, TENANT), NOW)
    connect(core)
    for _ in drain(core, table, 3):
        pass
    urgent = [table.item(MILLION + n) for n in range(3)]
    for item in urgent:
        item.rank = -3
    core.apply(Queued(urgent), NOW)
    core.apply(Released([("w", ONE)] * 3), NOW)
    assert [decision.item for decision in core.apply(Tick(SLOTS), NOW)] == urgent


def test_a_queue_that_is_cancelled_as_fast_as_it_fills_does_not_grow() -> None:
    core = Core()
    table = Table(0)
    before = attempts_in_memory()
    for position in range(20_000):
        core.apply(Queued([table.item(position)]), NOW)
        core.apply(Discarded([f"{position:036d}"]), NOW)
    assert attempts_in_memory() - before < 100
