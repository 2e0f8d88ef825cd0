"""Day partitions, made a week ahead and looked after once an hour."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from treadle.runtime.clock import moment
from treadle.storage.partitions import ensure_partitions

if TYPE_CHECKING:
    from treadle.runtime.clock import Clock
    from treadle.storage.database import Database

_log = structlog.get_logger()

_EVERY = 3600.0
_AFTER_FAILURE = 30.0


async def keep_partitions(database: Database, clock: Clock) -> None:
    """Make the partitions of the coming days, until cancelled."""
    while True:
        try:
            async with database.connection() as conn:
                made = await ensure_partitions(conn, today=moment(clock.now()).date())
            if made:
                _log.info("made partitions", first=made[0], count=len(made))
        except Exception as problem:  # noqa: BLE001 - partitions are a week ahead: there is time to try again
            _log.warning("could not look after partitions; trying again soon", problem=repr(problem))
            await asyncio.sleep(_AFTER_FAILURE)
            continue
        await asyncio.sleep(_EVERY)
