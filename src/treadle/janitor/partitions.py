"""Day partitions: made a week ahead, dropped once they are old, and missed loudly when tomorrow's is not there."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from treadle.runtime.clock import moment
from treadle.storage.partitions import ensure_partitions
from treadle.storage.retention import drop_old_partitions, missing_partitions

if TYPE_CHECKING:
    from datetime import date

    from treadle.runtime.clock import Clock
    from treadle.storage.database import Database

_log = structlog.get_logger()

_EVERY = 3600.0
_SOON = 60.0


class Partitions:
    """Looks after the partitions once an hour.

    Args:
        database: where they are.
        clock: the time; days are those of UTC.
        tends: whether this process makes and drops partitions, or only sees whether somebody does.
        retention_days: how many days of finished work are kept; 0 keeps everything.
    """

    def __init__(self, database: Database, clock: Clock, *, tends: bool, retention_days: int) -> None:
        self._database = database
        self._clock = clock
        self._tends = tends
        self._retention_days = retention_days
        self.warning: str | None = None

    async def run(self) -> None:
        """Look after them until cancelled."""
        while True:
            try:
                content = await self.look()
            except Exception as problem:  # noqa: BLE001 - partitions are a week ahead: there is time to try again
                _log.warning("could not look after partitions; trying again soon", problem=repr(problem))
                content = False
            await asyncio.sleep(_EVERY if content else _SOON)

    async def look(self) -> bool:
        """Look after them once; False when there is something to come back to soon."""
        today = moment(self._clock.now()).date()
        made = await self._make(today) if self._tends else True
        content = await self._check(today)
        dropped = await self._drop(today) if self._tends and self._retention_days else True
        return made and content and dropped

    async def _make(self, today: date) -> bool:
        try:
            async with self._database.connection() as conn:
                made = await ensure_partitions(conn, today=today)
        except Exception as problem:  # noqa: BLE001 - what is missing is seen, and told, by the check that follows
            _log.warning("could not make partitions; trying again soon", problem=repr(problem))
            return False
        if made:
            _log.info("made partitions", first=made[0], count=len(made))
        return True

    async def _check(self, today: date) -> bool:
        """Raise the alarm while there is still a day to act on it."""
        tomorrow = today + timedelta(days=1)
        async with self._database.connection() as conn:
            missing = [name for day in (today, tomorrow) for name in await missing_partitions(conn, day=day)]
        if missing:
            self.warning = f"partitions are missing: {', '.join(missing)}; without them no work can be stored"
            _log.error("partitions are missing: without them no work can be stored", missing=missing)
        else:
            self.warning = None
        return not missing

    async def _drop(self, today: date) -> bool:
        async with self._database.connection() as conn:
            swept = await drop_old_partitions(conn, today=today, keep_days=self._retention_days)
        if swept is None:
            return True
        if swept.dropped:
            _log.info("dropped old partitions", first=swept.dropped[0], count=len(swept.dropped))
        if swept.held:
            _log.info("old partitions are kept for runs that have not ended", partitions=swept.held)
        return not swept.busy
