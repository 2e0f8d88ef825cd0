"""Who is alive: kept in memory, because a row per heartbeat would cost more than the work it watches over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from treadle.engine.commands import WorkerChanged, WorkerLost
from treadle.runtime.clock import moment
from treadle.storage import register as rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.engine.inbox import Door
    from treadle.runtime.clock import Clock
    from treadle.storage.database import Database

_log = structlog.get_logger()

_LOOK_EVERY = 0.25
_SILENT_AFTER = 5.0
_STORE_EVERY = 30.0


class Watched:
    """What is known of one worker's pulse.

    Args:
        tenant_id: its tenant.
        seen_at: when it was last heard of, epoch seconds.
        lost_after: how long it may be silent, in seconds.
    """

    __slots__ = ("lost_after", "seen_at", "silent", "stored_at", "tenant_id")

    def __init__(self, tenant_id: int, seen_at: float, lost_after: float) -> None:
        self.tenant_id = tenant_id
        self.seen_at = seen_at
        self.lost_after = lost_after
        self.silent = False
        self.stored_at = seen_at


class Liveness:
    """Watches workers, rests the silent ones and gives up those that stay silent.

    Args:
        inbox: where the engine's loop is told.
        database: where "last seen" is stored now and then.
        clock: the time.
    """

    def __init__(self, inbox: Door, database: Database, clock: Clock) -> None:
        self._inbox = inbox
        self._database = database
        self._clock = clock
        self._watched: dict[str, Watched] = {}
        # Whether a worker is connected to another engine by now: its silence here says nothing.
        self.elsewhere: Callable[[str], bool] = lambda _worker_id: False

    def watch(self, worker_id: str, tenant_id: int, lost_after: float) -> None:
        """Begin to watch a worker, or hear of it again."""
        self._watched[worker_id] = Watched(tenant_id, self._clock.now(), lost_after)

    def seen(self, worker_id: str) -> None:
        """A sign of life."""
        watched = self._watched.get(worker_id)
        if watched is not None:
            watched.seen_at = self._clock.now()
            if watched.silent:
                watched.silent = False
                self._inbox.put_control(WorkerChanged(watched.tenant_id, worker_id, None, available=True, pulse=True))

    def forget(self, worker_id: str) -> None:
        """A worker has said goodbye, with nothing left to run."""
        self._watched.pop(worker_id, None)

    def last_seen(self, worker_id: str) -> float | None:
        """When a watched worker was last heard of, epoch seconds."""
        watched = self._watched.get(worker_id)
        return None if watched is None else watched.seen_at

    async def run(self) -> None:
        """Look around until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            self.look()
            try:
                await self._store()
            except Exception as problem:  # noqa: BLE001 - only a note for people; the watch must go on
                _log.debug("could not store when workers were last seen", problem=repr(problem))

    def look(self) -> None:
        """Rest and give up workers by how long they have been silent."""
        now = self._clock.now()
        for worker_id, watched in list(self._watched.items()):
            silence = now - watched.seen_at
            if silence > min(watched.lost_after, _SILENT_AFTER) and self.elsewhere(worker_id):
                del self._watched[worker_id]
            elif silence > watched.lost_after:
                del self._watched[worker_id]
                _log.warning("lost a worker", worker=worker_id, silent_s=round(silence, 1))
                self._inbox.put_control(WorkerLost(watched.tenant_id, worker_id))
            elif silence > _SILENT_AFTER and not watched.silent:
                watched.silent = True
                self._inbox.put_control(WorkerChanged(watched.tenant_id, worker_id, None, available=False, pulse=True))

    async def _store(self) -> None:
        now = self._clock.now()
        due = [
            (worker_id, watched)
            for worker_id, watched in self._watched.items()
            if now - watched.stored_at > _STORE_EVERY and watched.seen_at > watched.stored_at
        ]
        if not due:
            return
        async with self._database.connection() as conn:
            await rows.touch_workers(
                conn,
                tenant_ids=[watched.tenant_id for _, watched in due],
                ids=[worker_id for worker_id, _ in due],
                last_seen_at=[moment(watched.seen_at) for _, watched in due],
            )
        for _, watched in due:
            watched.stored_at = now
