"""Whom to give what: a deterministic state machine over plain data, without I/O, clock or chance.

It is told what happens (`events`), and on each tick says which attempts go to which workers. It holds what it needs to
choose: a bounded window of each queue's backlog, and the free slots of each worker. What does not fit a window stays in
the table and is read by cursor as the window drains.

Two rules make it fair, whatever the load. A worker's freed slots go to the queue that this worker has served least
recently, among those with something that fits. And within a queue nothing overtakes: its head waits for a worker with
room, and what stands behind waits for the head.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from treadle.scheduler.events import (
    Assign,
    Available,
    Discarded,
    Found,
    Joined,
    Left,
    Queued,
    Refill,
    Refilled,
    Released,
    Tick,
)
from treadle.scheduler.slots import Slots
from treadle.scheduler.window import END, Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from treadle.engine.attempt import Attempt
    from treadle.scheduler.events import Event, Need

WINDOW = 4000
"""Most items of one queue held in memory, but for those more urgent than what is held already."""


class Core:
    """The scheduler's memory and its choices.

    Nothing is left undone silently: when a tick ends, a queue whose head would fit an available worker is among the
    `_dirty`, or that worker is among the `_freed`, and `unfinished` says so.

    Args:
        window: most items of one queue held, but for more urgent ones; at most twice as many with those.
    """

    def __init__(self, *, window: int = WINDOW) -> None:
        self._window = window
        self._lines: dict[int, Line] = {}
        self._workers: dict[str, Slots] = {}
        self._items: dict[str, Attempt] = {}
        # Lines whose head may have changed since no worker had room for it; a dict for its order.
        self._dirty: dict[int, Line] = {}
        # Workers that may have room for what had to wait.
        self._freed: dict[str, Slots] = {}
        # Lines whose table holds more than the window.
        self._partial: dict[int, Line] = {}
        # Whether lines must go before freed workers, because a limit has cut them off last time.
        self._lines_first = False
        self._take_in: dict[type[Event], Callable[[Any], None]] = {
            Queued: self._queue,
            Released: self._release,
            Discarded: self._discard,
            Found: self._find,
            Refilled: self._refill,
            Joined: self._join,
            Left: self._leave,
            Available: self._set_available,
        }

    # -- what is told --------------------------------------------------------------------------------------------

    def apply(self, event: Event, now: float) -> list[Assign]:
        """Take in what has happened at a time; decides something only on a `Tick`."""
        if isinstance(event, Tick):
            return self._choose(event.limit, now)
        self._take_in[type(event)](event)
        return []

    def apply_all(self, events: Iterable[Event], now: float) -> list[Assign]:
        """Take in several events in order; what is decided on the way comes in one list."""
        decided: list[Assign] = []
        for event in events:
            decided += self.apply(event, now)
        return decided

    # -- what can be asked ---------------------------------------------------------------------------------------

    @property
    def unfinished(self) -> bool:
        """Whether there may be something to assign without anything else happening first."""
        return bool(self._dirty or self._freed)

    def starving(self) -> list[Refill]:
        """Wishes of the queues whose window runs low while the table holds more, and which someone serves."""
        return [
            Refill(line.queue_id, line.tenant_id, after=line.tail, limit=self._window)
            for line in self._partial.values()
            if line.workers and line.size <= self._window // 2
        ]

    def waiting(self, task_id: str) -> Attempt | None:
        """The item of a task that waits in a window."""
        return self._items.get(task_id)

    def free(self, worker_id: str) -> dict[str, int] | None:
        """A worker's free units by slot type; None when it is not known."""
        slots = self._workers.get(worker_id)
        return None if slots is None else dict(slots.free)

    # -- work ----------------------------------------------------------------------------------------------------

    def _find(self, found: Found) -> None:
        if found.queue_id not in self._lines:
            self._add_line(found.queue_id, found.tenant_id, complete=False)

    def _add_line(self, queue_id: int, tenant_id: int, *, complete: bool) -> Line:
        line = self._lines[queue_id] = Line(queue_id, tenant_id, complete=complete)
        if not complete:
            self._partial[queue_id] = line
        return line

    def _queue(self, queued: Queued) -> None:
        """Take ready attempts into their windows, or leave them to the table when a window is full."""
        lines = self._lines
        window = self._window
        for item in queued.items:
            kind = item.kind
            line = lines.get(kind.queue_id) or self._add_line(kind.queue_id, kind.tenant_id, complete=True)
            if line.complete and line.size >= window:
                line.close()
                self._partial[line.queue_id] = line
            if not line.complete and (item.rank, item.position) > line.tail:
                continue
            line.append(item)
            self._items[item.task_id] = item
            if line.size > 2 * window:
                self._forget(line)
            if line.workers:
                self._dirty[line.queue_id] = line

    def _forget(self, line: Line) -> None:
        for item in line.shrink(self._window):
            del self._items[item.task_id]

    def _refill(self, read: Refilled) -> None:
        """Append what was read from the table beyond the line's tail."""
        line = self._lines[read.queue_id]
        for item in read.items:
            line.append(item)
            self._items[item.task_id] = item
            line.tail = (item.rank, item.position)
        if read.complete:
            line.complete = True
            line.tail = END
            self._partial.pop(line.queue_id, None)
        if line.workers and line.size:
            self._dirty[line.queue_id] = line

    def _discard(self, discarded: Discarded) -> None:
        for task_id in discarded.task_ids:
            item = self._items.pop(task_id, None)
            if item is not None:
                line = self._lines[item.kind.queue_id]
                line.discard(item)
                # What stood behind it may need less.
                if line.workers and line.size:
                    self._dirty[line.queue_id] = line

    # -- workers -------------------------------------------------------------------------------------------------

    def _join(self, joined: Joined) -> None:
        self._drop(joined.worker_id)
        lines = [
            self._lines.get(queue_id) or self._add_line(queue_id, joined.tenant_id, complete=True)
            for queue_id in joined.queue_ids
        ]
        slots = self._workers[joined.worker_id] = Slots(joined.worker_id, dict(joined.capacity), lines)
        for need in joined.occupied:
            slots.take(need)
        for line in slots.lines.values():
            line.workers.append(slots)

    def _leave(self, left: Left) -> None:
        self._drop(left.worker_id)

    def _drop(self, worker_id: str) -> None:
        slots = self._workers.pop(worker_id, None)
        if slots is not None:
            self._freed.pop(worker_id, None)
            for line in slots.lines.values():
                line.workers.remove(slots)

    def _set_available(self, event: Available) -> None:
        slots = self._workers.get(event.worker_id)
        if slots is not None:
            slots.available = event.available
            if event.available:
                self._freed[event.worker_id] = slots

    def _release(self, released: Released) -> None:
        workers = self._workers
        freed = self._freed
        for worker_id, need in released.entries:
            slots = workers.get(worker_id)
            if slots is not None:
                slots.give_back(need)
                freed[worker_id] = slots

    # -- choosing ------------------------------------------------------------------------------------------------

    def _choose(self, limit: int, now: float) -> list[Assign]:
        """Freed workers take what they owe to the queues that waited; then fresh work finds workers with room."""
        decided: list[Assign] = []
        lines_first = self._lines_first
        self._lines_first = False
        if lines_first:
            self._serve_lines(limit, now, decided)
        if self._freed:
            self._feed_freed(limit, now, decided)
        if self._dirty:
            self._lines_first = not lines_first and len(decided) >= limit
            self._serve_lines(limit, now, decided)
        return decided

    def _feed_freed(self, limit: int, now: float, decided: list[Assign]) -> None:
        """Freed workers take turns, and at each worker its queues do."""
        turns: deque[tuple[Slots, deque[Line]]] = deque()
        for slots in self._freed.values():
            waiting = [line for line in slots.lines.values() if line.size]
            if waiting and slots.available:
                turns.append((slots, deque(waiting)))
        self._freed = {}
        while turns:
            slots, lines = turns.popleft()
            room = limit - len(decided)
            if room <= 0:
                self._freed[slots.worker_id] = slots
                continue
            # With one worker there is nobody to take turns with.
            if self._feed(slots, lines, 1 if turns else room, now, decided):
                turns.append((slots, lines))

    def _feed(self, slots: Slots, lines: deque[Line], count: int, now: float, decided: list[Assign]) -> bool:
        """Give a worker up to `count` items, of its queues in turn; True when it may take more."""
        while lines:
            line = lines[0]
            lane = line.front()
            if lane is None:
                lines.popleft()
                continue
            item = lane[0]
            need = item.kind.slots
            if not slots.fits(need):
                lines.popleft()
                continue
            lane.popleft()
            line.size -= 1
            del self._items[item.task_id]
            slots.take(need, line)
            decided.append(Assign(item, slots.worker_id, now))
            if line.size and (not lane or lane[0].gone or lane[0].kind.slots != need):
                # Another worker that had no room for this item may have room for the next.
                self._dirty[line.queue_id] = line
            lines.rotate(-1)
            count -= 1
            if not count:
                return True
        return False

    def _serve_lines(self, limit: int, now: float, decided: list[Assign]) -> None:
        """Queues take turns, and for each queue its workers do."""
        waiting = [line for line in self._dirty.values() if line.size]
        self._dirty = {}
        if not waiting:
            # As a rule: freed workers have taken all there was.
            return
        turns = deque(waiting)
        while turns:
            line = turns.popleft()
            room = limit - len(decided)
            if room <= 0:
                self._dirty[line.queue_id] = line
                continue
            # With one queue there is nobody to take turns with.
            if self._serve(line, 1 if turns else room, now, decided):
                turns.append(line)

    def _serve(self, line: Line, count: int, now: float, decided: list[Assign]) -> bool:
        """Assign up to `count` items of a line; True when it may go on."""
        for _ in range(count):
            lane = line.front()
            if lane is None:
                return False
            item = lane[0]
            slots = self._pick(line, item.kind.slots)
            if slots is None:
                return False
            lane.popleft()
            line.size -= 1
            del self._items[item.task_id]
            slots.take(item.kind.slots, line)
            decided.append(Assign(item, slots.worker_id, now))
        return line.size > 0

    def _pick(self, line: Line, need: Need) -> Slots | None:
        """The next worker in turn that has room."""
        workers = line.workers
        count = len(workers)
        for step in range(count):
            index = (line.turn + step) % count
            slots = workers[index]
            # A freed worker that is still to come chooses by itself.
            if slots.available and slots.fits(need) and slots.worker_id not in self._freed:
                line.turn = index + 1
                return slots
        return None
