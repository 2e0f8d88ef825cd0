"""Hints from other engines over LISTEN/NOTIFY. A lost one costs at most one heartbeat's time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from treadle.storage.listen import listen

if TYPE_CHECKING:
    from collections.abc import Callable

_log = structlog.get_logger()

CHANNEL = "treadle"

_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Hint:
    """What another engine says.

    `runs`: it has taken in runs of this tenant without owning it. `workflows`: it has stored a workflow of this tenant.
    `leases`: ownership has changed. `missed`: hints may have been lost.
    """

    runs: int | None = None
    workflows: int | None = None
    leases: bool = False
    missed: bool = False


def read_hint(payload: str) -> Hint:
    """A hint from its payload; an unknown one says nothing."""
    kind, _, rest = payload.partition(" ")
    number = int(rest) if rest.isdigit() else None
    match kind:
        case "runs":
            return Hint(runs=number)
        case "workflows":
            return Hint(workflows=number)
        case "leases":
            return Hint(leases=True)
        case _:
            return Hint()


async def hear(url: str, *, heard: Callable[[Hint], None]) -> None:
    """Listen until cancelled.

    Args:
        url: the database.
        heard: told of each hint.
    """
    while True:
        try:
            await listen(url, CHANNEL, lambda payload: heard(read_hint(payload)))
        except Exception as problem:  # noqa: BLE001 - hints only save time
            _log.debug("cannot hear hints", problem=repr(problem))
        await asyncio.sleep(_PAUSE)
        heard(Hint(missed=True))
