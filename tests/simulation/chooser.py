"""Where a simulation's chances come from: a seed, or hypothesis, which then can shrink them."""

from collections.abc import Sequence
from random import Random
from typing import Protocol, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")


class Chooser(Protocol):
    """Decides what happens."""

    def number(self, low: int, high: int) -> int:
        """A number in a range, ends included."""
        ...

    def pick(self, options: Sequence[T]) -> T:
        """One of several."""
        ...

    def chance(self, percent: int) -> bool:
        """True that often."""
        ...


class Seeded:
    """Chances from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._draw = self._random.random

    def number(self, low: int, high: int) -> int:
        return low + int(self._draw() * (high - low + 1))

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self._draw() * len(options))]

    def chance(self, percent: int) -> bool:
        return self._draw() * 100 < percent


class Drawn:
    """Chances from hypothesis."""

    def __init__(self) -> None:
        self.data: st.DataObject | None = None

    def number(self, low: int, high: int) -> int:
        assert self.data is not None
        return self.data.draw(st.integers(low, high))

    def pick(self, options: Sequence[T]) -> T:
        return options[self.number(0, len(options) - 1)]

    def chance(self, percent: int) -> bool:
        # The unlikely is drawn with large numbers, so that shrinking makes it go away.
        return self.number(0, 99) >= 100 - percent
