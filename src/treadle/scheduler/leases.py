"""Which engine owns which tenant: heartbeats, taking over from the dead, sharing with the living."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from treadle.storage import leases as rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from treadle.scheduler.seat import Seat
    from treadle.storage.database import Database
    from treadle.storage.leases import EngineRow

_log = structlog.get_logger()

HEARTBEAT = 1.0
"""Seconds between heartbeats."""

EXPIRY = 3.0
"""Seconds of silence after which an engine's tenants may be taken."""


class Leases:
    """Knows the owners of tenants, and takes this engine's share of them.

    Args:
        database: where engines and leases are.
        seat: this engine's right to write; None for a process that does not schedule.
    """

    def __init__(self, database: Database, seat: Seat | None) -> None:
        self._database = database
        self._seat = seat
        self._lock = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._owners: dict[int, EngineRow] = {}
        self._engines: list[EngineRow] = []
        self._unclaimed: set[int] = set()
        self.owned: dict[int, int] = {}
        self.on_change: Callable[[], None] = lambda: None
        # Told that the database is out of reach, though nobody may be asking the loop for anything.
        self.on_unreachable: Callable[[], None] = lambda: None

    @property
    def alone(self) -> bool:
        """Whether no other engine is known to live."""
        mine = "" if self._seat is None else self._seat.engine_id
        return all(engine.id == mine for engine in self._engines)

    def owner(self, tenant_id: int) -> EngineRow | None:
        """Another engine that owns a tenant; None when this one does, or nobody."""
        return None if tenant_id in self.owned else self._owners.get(tenant_id)

    def lives(self, address: str) -> bool:
        """Whether the engine at an address is known to live."""
        return any(engine.address == address for engine in self._engines)

    def look(self) -> None:
        """Look around soon, not only at the next heartbeat."""
        self._wanted.set()

    async def take(self) -> set[int]:
        """Look around once: take what is free, up to a fair share.

        Returns:
            the tenants to own from now on; those that are owned but not among them are to be released.

        Raises:
            Unavailable: the database is out of reach.
        """
        async with self._lock, self._database.connection() as conn:
            seat = self._seat
            mine = "" if seat is None else seat.engine_id
            if seat is not None:
                dead = await rows.beat(conn, id=mine, expiry=EXPIRY)
                if dead is None:
                    # Superseded: the loop finds out at its next commit, and takes a new seat.
                    self.owned = {}
                    seat.drop()
                    return set()
                if dead:
                    _log.warning("took over from engines that are gone", engines=dead)
                    await rows.bury(conn, ids=dead)
            self._engines, leases = await rows.look_around(conn)
            by_id = {engine.id: engine for engine in self._engines}
            self.owned = {lease.tenant_id: lease.epoch for lease in leases if mine and lease.engine_id == mine}
            free = [lease.tenant_id for lease in leases if lease.engine_id not in by_id]
            if seat is not None:
                wanted = self._share_of(free, len(leases))
                claimed = await rows.claim(conn, engine_id=mine, tenant_ids=wanted) if wanted else {}
                self.owned |= claimed
                if len(claimed) < len(wanted):
                    # Another engine was faster: there may be others left for this one.
                    self._wanted.set()
            self._unclaimed = set(free) - self.owned.keys()
            self._owners = {
                lease.tenant_id: by_id[lease.engine_id]
                for lease in leases
                if lease.engine_id in by_id and lease.engine_id != mine
            }
        return set(sorted(self.owned)[: self._fair_share(len(leases))])

    def _fair_share(self, tenants: int) -> int:
        scheduling = max(sum(engine.schedules for engine in self._engines), 1)
        return -(-tenants // scheduling)

    def _share_of(self, free: list[int], tenants: int) -> list[int]:
        """Which free tenants to claim: up to a fair share, and whatever nobody has claimed for a whole round."""
        room = max(self._fair_share(tenants) - len(self.owned), 0)
        left_over = [tenant_id for tenant_id in free[room:] if tenant_id in self._unclaimed]
        return free[:room] + left_over

    async def run(self, own: Callable[[set[int]], Awaitable[None]]) -> None:
        """Keep the leases until cancelled.

        Args:
            own: lets the loop own exactly these tenants; returns once it has let go of the others.
        """
        while True:
            # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT):
                    await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._round(own)
            except Exception as problem:  # noqa: BLE001 - the next heartbeat tries again
                _log.warning("could not look after leases", problem=repr(problem))
                self.on_unreachable()

    async def _round(self, own: Callable[[set[int]], Awaitable[None]]) -> None:
        before = (dict(self._owners), set(self.owned))
        keep = await self.take()
        await own(keep)
        surplus = sorted(self.owned.keys() - keep)
        if surplus and self._seat is not None:
            async with self._database.connection() as conn:
                await rows.release(conn, engine_id=self._seat.engine_id, tenant_ids=surplus)
                await rows.hint(conn, text="leases")
            for tenant_id in surplus:
                del self.owned[tenant_id]
        if (self._owners, set(self.owned)) != before:
            self.on_change()
