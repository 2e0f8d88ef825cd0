"""Whom to give what: the scheduler's choices over plain data, without I/O and without a clock.

It holds a bounded window of each queue's backlog, most urgent first, and the free slots of each worker. What does not
fit the window stays in the table and is read by cursor as the window drains.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from treadle.engine.attempt import Attempt

WINDOW = 4000
"""Most items of one queue held in memory, but for those more urgent than what is held already."""

_END = (1 << 15, 1 << 63)


class Line:
    """One queue: its window, and the workers that serve it."""

    __slots__ = ("complete", "gone", "queue_id", "ranks", "size", "tail", "tenant_id", "turn", "workers")

    def __init__(self, queue_id: int, tenant_id: int, *, complete: bool) -> None:
        self.queue_id = queue_id
        self.tenant_id = tenant_id
        # rank -> (retries, first attempts), each in order of position
        self.ranks: dict[int, tuple[deque[Attempt], deque[Attempt]]] = {}
        self.size = 0
        self.gone = 0
        self.workers: list[Slots] = []
        self.turn = 0
        # Everything in the table up to `tail` is in the window; `complete` says that nothing lies beyond it.
        self.complete = complete
        self.tail: tuple[int, int] = _END if complete else (-(1 << 15), -(1 << 63))

    def append(self, item: Attempt) -> None:
        """Put an item behind those of its rank and class."""
        pair = self.ranks.get(item.rank)
        if pair is None:
            pair = self.ranks[item.rank] = (deque(), deque())
            if len(self.ranks) > 1:
                self.ranks = dict(sorted(self.ranks.items()))
        pair[0 if item.position < 0 else 1].append(item)
        self.size += 1

    def peek(self) -> Attempt | None:
        """The most urgent item, dropping those that were taken away."""
        for pair in self.ranks.values():
            for items in pair:
                while items:
                    item = items[0]
                    if not item.gone:
                        return item
                    items.popleft()
                    self.gone -= 1
        return None

    def pop(self, item: Attempt) -> None:
        """Remove the item that `peek` returned."""
        self.ranks[item.rank][0 if item.position < 0 else 1].popleft()
        self.size -= 1

    def shrink(self) -> list[Attempt]:
        """Forget the least urgent items until the window is back at its size; they stay in the table.

        Returns:
            the items forgotten.
        """
        forgotten = []
        for rank in reversed(list(self.ranks)):
            for items in reversed(self.ranks[rank]):
                while items and self.size > WINDOW:
                    item = items.pop()
                    if item.gone:
                        self.gone -= 1
                        continue
                    self.size -= 1
                    self.complete = False
                    last = items[-1] if items else None
                    self.tail = (rank, last.position if last else item.position - 1)
                    forgotten.append(item)
        return forgotten


class Slots:
    """One worker's free units by slot type."""

    __slots__ = ("available", "free", "lines", "tenant_id", "worker_id")

    def __init__(self, worker_id: str, tenant_id: int, free: dict[str, int]) -> None:
        self.worker_id = worker_id
        self.tenant_id = tenant_id
        self.free = free
        self.lines: list[Line] = []
        self.available = False

    def fits(self, need: tuple[tuple[str, int], ...]) -> bool:
        """Whether every wanted unit is free."""
        free = self.free
        return all(free.get(slot_type, 0) >= units for slot_type, units in need)

    def take(self, need: tuple[tuple[str, int], ...]) -> None:
        """Occupy units."""
        for slot_type, units in need:
            self.free[slot_type] = self.free.get(slot_type, 0) - units


class Core:
    """The scheduler's memory and its choices."""

    def __init__(self) -> None:
        self._lines: dict[int, Line] = {}
        self._workers: dict[str, Slots] = {}
        self._items: dict[str, Attempt] = {}
        # Lines that may have both work and a free slot; a dict for its order.
        self._dirty: dict[int, Line] = {}
        # Lines whose table holds more than the window.
        self._partial: dict[int, Line] = {}

    # -- work ----------------------------------------------------------------------------------------------------

    def line(self, queue_id: int, tenant_id: int, *, complete: bool = True) -> Line:
        """The line of a queue, made on first sight; `complete` False when its table rows are not loaded yet."""
        found = self._lines.get(queue_id)
        if found is None:
            found = self._lines[queue_id] = Line(queue_id, tenant_id, complete=complete)
            if not complete:
                self._partial[queue_id] = found
        return found

    def offer(self, item: Attempt) -> None:
        """Take a ready attempt into its window, or leave it to the table when the window is full."""
        kind = item.kind
        line = self._lines.get(kind.queue_id) or self.line(kind.queue_id, kind.tenant_id)
        if line.complete:
            if line.size >= WINDOW:
                last = max(
                    (items[-1].rank, items[-1].position) for pair in line.ranks.values() for items in pair if items
                )
                line.complete = False
                line.tail = last
                self._partial[line.queue_id] = line
                if (item.rank, item.position) > last:
                    return
        elif (item.rank, item.position) > line.tail:
            return
        line.append(item)
        self._items[item.task_id] = item
        if line.size > 2 * WINDOW:
            self._forget(line)
        if line.workers:
            self._dirty[line.queue_id] = line

    def discard(self, task_id: str) -> None:
        """Take an item that was cancelled, or timed out waiting, out of its window."""
        item = self._items.pop(task_id, None)
        if item is not None:
            item.gone = True
            line = self._lines[item.kind.queue_id]
            line.size -= 1
            line.gone += 1
            if line.workers:
                # It may have stood in front of one that needs less room.
                self._dirty[line.queue_id] = line

    def starving(self) -> list[Line]:
        """Lines whose window runs low while the table holds more, and which someone serves."""
        return [line for line in self._partial.values() if line.workers and line.size < WINDOW // 2]

    def refill(self, line: Line, items: Iterable[Attempt], *, complete: bool) -> None:
        """Append what was read from the table beyond the line's tail."""
        for item in items:
            line.append(item)
            self._items[item.task_id] = item
            line.tail = (item.rank, item.position)
        if complete:
            line.complete = True
            line.tail = _END
            self._partial.pop(line.queue_id, None)
        if line.workers and line.size:
            self._dirty[line.queue_id] = line

    def waiting(self, task_id: str) -> Attempt | None:
        """The item of a task that waits in a window."""
        return self._items.get(task_id)

    def _forget(self, line: Line) -> None:
        for item in line.shrink():
            del self._items[item.task_id]
        self._partial[line.queue_id] = line

    # -- workers -------------------------------------------------------------------------------------------------

    def add_worker(
        self, worker_id: str, *, tenant_id: int, queue_ids: Iterable[int], capacity: Mapping[str, int]
    ) -> None:
        """Let a worker serve these queues with this many units by slot type."""
        self.remove_worker(worker_id)
        slots = Slots(worker_id, tenant_id, dict(capacity))
        self._workers[worker_id] = slots
        for queue_id in queue_ids:
            line = self.line(queue_id, tenant_id)
            line.workers.append(slots)
            slots.lines.append(line)

    def remove_worker(self, worker_id: str) -> None:
        """Forget a worker."""
        slots = self._workers.pop(worker_id, None)
        if slots is not None:
            for line in slots.lines:
                line.workers.remove(slots)

    def has_worker(self, worker_id: str) -> bool:
        """Whether this worker is known."""
        return worker_id in self._workers

    def set_available(self, worker_id: str, *, available: bool) -> None:
        """Say whether a worker may be given work."""
        slots = self._workers.get(worker_id)
        if slots is not None:
            slots.available = available
            if available:
                self._mark(slots)

    def occupy(self, worker_id: str, need: tuple[tuple[str, int], ...]) -> None:
        """Count an attempt that already runs there."""
        slots = self._workers.get(worker_id)
        if slots is not None:
            slots.take(need)

    def release(self, worker_id: str, need: tuple[tuple[str, int], ...]) -> None:
        """Give units back."""
        slots = self._workers.get(worker_id)
        if slots is None:
            return
        free = slots.free
        for slot_type, units in need:
            free[slot_type] = free.get(slot_type, 0) + units
        if slots.available:
            self._mark(slots)

    def _mark(self, slots: Slots) -> None:
        dirty = self._dirty
        for line in slots.lines:
            if line.size:
                dirty[line.queue_id] = line

    # -- choosing ------------------------------------------------------------------------------------------------

    @property
    def unfinished(self) -> bool:
        """Whether there may be something to assign without anything else happening first."""
        return bool(self._dirty)

    def assign(self, limit: int) -> list[Attempt]:
        """Give ready attempts to free slots: queues take turns, workers take turns.

        Returns:
            the attempts chosen, their `worker_id` set; at most `limit`.
        """
        chosen: list[Attempt] = []
        turns = deque(self._dirty.values())
        self._dirty = {}
        while turns:
            line = turns.popleft()
            if len(chosen) >= limit:
                self._dirty[line.queue_id] = line
                continue
            # With one queue there is nobody to take turns with.
            burst = 1 if turns else limit - len(chosen)
            if self._serve(line, burst, chosen):
                turns.append(line)
        return chosen

    def _serve(self, line: Line, burst: int, chosen: list[Attempt]) -> bool:
        """Assign up to `burst` items of a line; True when it may go on."""
        items = self._items
        for _ in range(burst):
            item = line.peek()
            if item is None:
                return False
            slots = self._pick(line, item.kind.slots)
            if slots is None:
                return False
            line.pop(item)
            del items[item.task_id]
            slots.take(item.kind.slots)
            if slots.lines[-1] is not line:
                # Its other queues go first when its next slot comes free.
                slots.lines.remove(line)
                slots.lines.append(line)
            item.worker_id = slots.worker_id
            chosen.append(item)
        return line.size > 0

    @staticmethod
    def _pick(line: Line, need: tuple[tuple[str, int], ...]) -> Slots | None:
        workers = line.workers
        count = len(workers)
        for step in range(count):
            index = (line.turn + step) % count
            slots = workers[index]
            if slots.available and slots.fits(need):
                line.turn = index + 1
                return slots
        return None
