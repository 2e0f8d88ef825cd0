"""How long to wait before trying again, and whether to."""

from __future__ import annotations

import asyncio
import random

_FIRST, _LONGEST = 0.05, 2.0


class Pauses:
    """Seconds between tries: growing, and random so that many clients do not come back as one."""

    def __init__(self, first: float = _FIRST, longest: float = _LONGEST) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def next(self) -> float:
        pause = random.uniform(self._next / 2, self._next)  # noqa: S311 - not for secrets
        self._next = min(self._next * 2, self._longest)
        return pause

    def reset(self) -> None:
        self._next = self._first


def told_to_stop() -> bool:
    """Whether this asyncio task is being cancelled.

    gRPC raises CancelledError also for a call that the other side, or a timer of ours, has ended; that is a break like any
    other, and must not pass for the end of the task.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
