"""Cores with a planted bug each, to see the simulator catch them. Nothing but a test can reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.scheduler.core import Core

if TYPE_CHECKING:
    from treadle.engine.attempt import Attempt
    from treadle.scheduler.events import Discarded, Need, Refilled, Released
    from treadle.scheduler.slots import Slots
    from treadle.scheduler.window import Line


class LeakedSlot(Core):
    """A slot that comes free while its worker rests is gone."""

    def _release(self, released: Released) -> None:
        resting = {worker_id for worker_id, slots in self._workers.items() if not slots.available}
        released.entries = [entry for entry in released.entries if entry[0] not in resting]
        super()._release(released)


class Overrun(Core):
    """Only the first slot type of an item is looked at when fresh work looks for a worker."""

    def _pick(self, line: Line, need: Need) -> Slots | None:
        return super()._pick(line, need[:1])


class LostItem(Core):
    """When a window sheds its least urgent items, the cursor stays behind them, and nobody reads them again."""

    def _forget(self, line: Line) -> None:
        tail = line.tail
        super()._forget(line)
        line.tail = tail


class SkippedRow(Core):
    """The cursor of a refill steps over a row that stands right behind what was read."""

    def _refill(self, read: Refilled) -> None:
        super()._refill(read)
        line = self._lines[read.queue_id]
        if not line.complete:
            line.tail = (line.tail[0], line.tail[1] + 1)


class ReadTwice(Core):
    """The cursor of a refill stays where it was."""

    def _refill(self, read: Refilled) -> None:
        line = self._lines[read.queue_id]
        tail = line.tail
        super()._refill(read)
        if not line.complete:
            line.tail = tail


class NoTurns(Core):
    """A worker always serves its queues in the order of its registration."""

    def _feed_freed(self, limit: int, now: float, decided: list[object]) -> None:  # type: ignore[override]
        for slots in self._workers.values():
            slots.lines = dict(sorted(slots.lines.items()))
        super()._feed_freed(limit, now, decided)  # type: ignore[arg-type]


class DeafToCancels(Core):
    """When a large item is cancelled, the small one behind it waits on."""

    def _discard(self, discarded: Discarded) -> None:
        dirty = dict(self._dirty)
        super()._discard(discarded)
        self._dirty = dirty


class OldestLast(Core):
    """A retry takes its place behind first attempts."""

    def _queue(self, queued: object) -> None:
        items: list[Attempt] = sorted(queued.items, key=lambda item: -item.position)  # type: ignore[attr-defined]
        queued.items = items  # type: ignore[attr-defined]
        super()._queue(queued)  # type: ignore[arg-type]


PLANTED: tuple[type[Core], ...] = (LeakedSlot, Overrun, LostItem)
"""The three that must be caught whatever else is."""

OTHERS: tuple[type[Core], ...] = (SkippedRow, ReadTwice, NoTurns, DeafToCancels, OldestLast)
