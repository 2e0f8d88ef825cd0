"""One queue as the core sees it: a bounded window of its backlog, most urgent first."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treadle.engine.attempt import Attempt
    from treadle.scheduler.events import Key
    from treadle.scheduler.slots import Slots

BEGIN: Key = (-(1 << 15), -(1 << 63))
END: Key = (1 << 15, 1 << 63)

_FEW = 64
"""Discarded items that may stand in a window of any size before it is swept."""


class Line:
    """A queue's window, and the workers that serve it.

    The window is always the front part of the queue: every row of the table up to `tail` is in it, and none beyond.
    `complete` says that nothing lies beyond.
    """

    __slots__ = (
        "_lane_of",
        "complete",
        "gone",
        "lanes",
        "queue_id",
        "size",
        "tail",
        "tenant_id",
        "turn",
        "workers",
    )

    def __init__(self, queue_id: int, tenant_id: int, *, complete: bool) -> None:
        self.queue_id = queue_id
        self.tenant_id = tenant_id
        # By rank, and within a rank those that return before first attempts: each in order of position.
        self.lanes: list[deque[Attempt]] = []
        self._lane_of: dict[int, deque[Attempt]] = {}
        self.size = 0
        # Discarded items that still stand in a lane.
        self.gone = 0
        self.workers: list[Slots] = []
        self.turn = 0
        self.complete = complete
        self.tail = END if complete else BEGIN

    def append(self, item: Attempt) -> None:
        """Put an item behind those of its rank and class."""
        number = 2 * item.rank + (item.position >= 0)
        lane = self._lane_of.get(number)
        if lane is None:
            lane = self._lane_of[number] = deque()
            self._lane_of = dict(sorted(self._lane_of.items()))
            self.lanes = list(self._lane_of.values())
        lane.append(item)
        self.size += 1

    def front(self) -> deque[Attempt] | None:
        """The lane at whose head the most urgent item stands; None when nothing waits."""
        for lane in self.lanes:
            while lane:
                if not lane[0].gone:
                    return lane
                lane.popleft()
                self.gone -= 1
        return None

    def discard(self, item: Attempt) -> None:
        """Take an item out, wherever it stands."""
        item.gone = True
        self.size -= 1
        self.gone += 1
        # Otherwise a queue whose items are all cancelled would grow without end.
        if self.gone > _FEW and self.gone > self.size:
            for lane in self.lanes:
                kept = [item for item in lane if not item.gone]
                lane.clear()
                lane.extend(kept)
            self.gone = 0

    def close(self) -> None:
        """From now on what comes beyond the last item is left to the table."""
        self.complete = False
        self.tail = max((lane[-1].rank, lane[-1].position) for lane in self.lanes if lane)

    def shrink(self, size: int) -> list[Attempt]:
        """Forget the least urgent items of a closed window down to a size; they stay in the table.

        Returns:
            the items forgotten.
        """
        forgotten = []
        for lane in reversed(self.lanes):
            while lane and self.size > size:
                item = lane.pop()
                if item.gone:
                    self.gone -= 1
                    continue
                self.size -= 1
                self.tail = (item.rank, item.position - 1)
                forgotten.append(item)
        return forgotten
