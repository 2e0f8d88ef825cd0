"""How long a failed task waits before its next attempt."""

from __future__ import annotations

import math

MAX_BACKOFF_SECONDS = 86_400
"""The longest wait, and the cap when a task names none."""


def backoff_ms(*, factor: float | None, max_seconds: int | None, retry: int) -> int:
    """The wait before a retry: ``min(max_seconds, factor ** retry)`` seconds, as milliseconds.

    Args:
        factor: Growth of the wait per retry, from 1 up; None means retry at once.
        max_seconds: Longest wait in seconds; None means one day.
        retry: Which retry this is, 1 for the first.
    """
    if factor is None:
        return 0
    cap = MAX_BACKOFF_SECONDS if max_seconds is None else max_seconds
    # Compared as logarithms: the power itself overflows a float after some hundred retries.
    if retry * math.log(factor) >= math.log(cap):
        return cap * 1000
    return min(round(factor**retry * 1000), cap * 1000)
