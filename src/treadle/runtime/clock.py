"""Time as a parameter: the engine never asks the system for it directly."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where an engine reads the time."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()


class VirtualClock:
    """A clock that stands still until a test moves it.

    Args:
        start: seconds since the epoch at which it begins.
    """

    def __init__(self, start: float) -> None:
        self._now = start

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move time forward; it never goes back."""
        if seconds < 0:
            msg = "a clock cannot go back"
            raise ValueError(msg)
        self._now += seconds


def moment(seconds: float) -> datetime:
    """Seconds since the epoch as an aware datetime in UTC, as the storage layer takes it."""
    return datetime.fromtimestamp(seconds, UTC)


def iso_utc(seconds: float) -> str:
    """RFC 3339 text of a moment, for people and JSON."""
    return moment(seconds).isoformat().replace("+00:00", "Z")
