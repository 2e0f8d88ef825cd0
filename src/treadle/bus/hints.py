"""Hints from other engines over LISTEN/NOTIFY. A lost one costs at most one heartbeat's time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from treadle.model.errors import TreadleError
from treadle.storage.listen import listen

if TYPE_CHECKING:
    from collections.abc import Callable

_log = structlog.get_logger()

CHANNEL = "treadle"
LEASES = "leases"
"""Payload that says: ownership has changed, look around."""

_PAUSE = 1.0


def arrival(tenant_id: int) -> str:
    """Payload that says: runs of this tenant have been taken in by an engine that does not own it."""
    return f"runs {tenant_id}"


async def hear(url: str, *, arrived: Callable[[int | None], None], look: Callable[[], None]) -> None:
    """Listen until cancelled.

    Args:
        url: the database.
        arrived: told of the tenant whose runs were taken in; None when hints may have been missed.
        look: called when ownership has changed.
    """

    def heard(payload: str) -> None:
        kind, _, rest = payload.partition(" ")
        if kind == "runs" and rest.isdigit():
            arrived(int(rest))
        elif kind == LEASES:
            look()

    while True:
        try:
            await listen(url, CHANNEL, heard)
        except TreadleError as problem:
            _log.debug("cannot hear hints", problem=str(problem))
        await asyncio.sleep(_PAUSE)
        arrived(None)
