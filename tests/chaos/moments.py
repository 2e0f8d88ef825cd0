"""When to kill: random moments, measured by the progress of the work and never by a clock, so that a seed means something."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random

POLL_SECONDS = 0.002


class Measure(StrEnum):
    """Whose progress counts. The two sides hit different steps of a run: its commit, and its code."""

    ACKNOWLEDGED = "acknowledged"
    EFFECTS = "effects"


@dataclass(frozen=True, slots=True)
class Moment:
    """The point at which a measure passes a share of its end value."""

    measure: Measure
    share: float


def random_moments(random: Random, count: int) -> list[Moment]:
    """`count` moments, in the order in which they are to come."""
    shares = sorted(random.uniform(0.02, 0.85) for _ in range(count))
    return [Moment(random.choice(list(Measure)), share) for share in shares]


async def reached(moment: Moment, *, progress: Callable[[Measure], float], load: "asyncio.Task[None]") -> bool:
    """Wait for the moment. False when the load ended before it came."""
    while not load.done():
        if progress(moment.measure) >= moment.share:
            return True
        await asyncio.wait([load], timeout=POLL_SECONDS)
    return False
