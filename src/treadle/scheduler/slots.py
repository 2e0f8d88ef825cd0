"""One worker as the core sees it: free units by slot type, and the queues it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from treadle.scheduler.events import Need
    from treadle.scheduler.window import Line


class Slots:
    """A worker's free units. Fewer than none when it came back with fewer slots than it runs attempts."""

    __slots__ = ("_served_last", "available", "free", "lines", "worker_id")

    def __init__(self, worker_id: str, free: dict[str, int], lines: Iterable[Line]) -> None:
        self.worker_id = worker_id
        self.free = free
        # The one that it has served least recently first.
        self.lines = {line.queue_id: line for line in lines}
        self._served_last: Line | None = None
        self.available = False

    def fits(self, need: Need) -> bool:
        """Whether every wanted unit is free."""
        free = self.free
        for slot_type, units in need:  # noqa: SIM110 - a generator costs several times as much
            if free.get(slot_type, 0) < units:
                return False
        return True

    def take(self, need: Need, line: Line | None = None) -> None:
        """Occupy units, for an item of this line: the others go before it when the next slot comes free."""
        free = self.free
        for slot_type, units in need:
            free[slot_type] = free.get(slot_type, 0) - units
        if line is not self._served_last and line is not None:
            self._served_last = line
            del self.lines[line.queue_id]
            self.lines[line.queue_id] = line

    def give_back(self, need: Need) -> None:
        """Free units."""
        free = self.free
        for slot_type, units in need:
            free[slot_type] = free.get(slot_type, 0) + units
