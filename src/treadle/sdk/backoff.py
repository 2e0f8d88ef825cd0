"""How long to wait before a failed task is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

_LONGEST = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait before retry number n is `factor ** n` seconds, at most `max`.

    Args:
        factor: Growth from one wait to the next, 1 to 1000.
        max: Longest wait, 1 second to 24 hours. None means 24 hours.

    Raises:
        ValueError: A value is out of range.
    """

    factor: float = 2.0
    max: timedelta | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.factor <= 1000:
            raise ValueError(f"Backoff(factor={self.factor}) is out of range: use 1 to 1000")
        if self.max is not None and not timedelta(seconds=1) <= self.max <= _LONGEST:
            raise ValueError(f"Backoff(max={self.max}) is out of range: use 1 second to 24 hours")
