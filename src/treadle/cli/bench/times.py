"""Moments that several processes write down without getting in each other's way: one cell per task, in shared memory.

The clock is CLOCK_MONOTONIC, which all processes of a machine share; so moments of different processes can be subtracted.
"""

import math
import mmap
import time
from pathlib import Path
from typing import Self

_CELL = 8


class Times:
    """An array of moments in nanoseconds; 0 is a moment not written yet."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._cells = memoryview(self._map).cast("q")

    @classmethod
    def create(cls, path: Path, size: int) -> Self:
        with path.open("wb") as file:
            file.truncate(size * _CELL)
        return cls(path)

    def mark(self, at: int) -> None:
        """Write down this moment, unless one is there: of a task that ran twice the first start counts."""
        if not self._cells[at]:
            self._cells[at] = time.monotonic_ns()

    def set(self, at: int, moment: int) -> None:
        self._cells[at] = moment

    def mark_range(self, first: int, count: int, moment: int) -> None:
        for at in range(first, first + count):
            self._cells[at] = moment

    def __getitem__(self, at: int) -> int:
        return self._cells[at]

    def __len__(self) -> int:
        return len(self._cells)


def milliseconds_between(begin: Times, end: Times, numbers: range | None = None) -> list[float]:
    """Sorted differences, of the cells where both moments are known."""
    cells = range(len(begin)) if numbers is None else numbers
    return sorted((end[at] - begin[at]) / 1e6 for at in cells if begin[at] and end[at])


def spread(ordered: list[float]) -> dict[str, float | None]:
    """Median, 95th and 99th percentile."""
    return {name: percentile(ordered, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}


def percentile(ordered: list[float], share: float) -> float | None:
    """The value that `share` of them do not exceed (nearest rank)."""
    if not ordered:
        return None
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3)
