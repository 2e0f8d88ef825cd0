"""When the next queued attempt expires, and the next backoff and the next sleep are over: the loop sleeps until then,
and polls nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.storage import conditions as condition_rows
from treadle.storage import expire as expired_rows
from treadle.storage import retry as timer_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.engine.attempt import Attempt
    from treadle.engine.batch import Batch
    from treadle.storage.database import Conn


class Timers:
    """Lower bounds, in epoch seconds, of what falls due; None when nothing does. The tables are the truth.

    Args:
        tenant_ids: whose.
    """

    def __init__(self, tenant_ids: Sequence[int]) -> None:
        self._tenant_ids = tenant_ids
        self._expiry: float | None = None
        self._backoff: float | None = None
        self._sleep: float | None = None

    async def load(self, conn: Conn) -> None:
        """Read all from the tables."""
        await self.reload_expiry(conn)
        await self.reload_backoff(conn)
        await self.reload_sleep(conn)

    async def reload_expiry(self, conn: Conn) -> None:
        """Read when the next queued attempt expires."""
        at = await expired_rows.next_expiry(conn, tenant_ids=self._tenant_ids)
        self._expiry = None if at is None else at.timestamp()

    async def reload_backoff(self, conn: Conn) -> None:
        """Read when the next backoff passes."""
        at = await timer_rows.next_due(conn, tenant_ids=self._tenant_ids)
        self._backoff = None if at is None else at.timestamp()

    async def reload_sleep(self, conn: Conn) -> None:
        """Read when the next sleep of a task of a workflow run is over."""
        at = await condition_rows.next_sleep(conn, tenant_ids=self._tenant_ids)
        self._sleep = None if at is None else at.timestamp()

    def arrived(self, now: float) -> None:
        """Another engine has put something in: it is due at once."""
        self._backoff = _earlier(self._backoff, now)

    def note(self, batch: Batch, queued: list[Attempt]) -> None:
        """Take in what a commit has added."""
        if queued:
            self._expiry = _earlier(self._expiry, min(item.expires_at for item in queued))
        if batch.waiting:
            self._backoff = _earlier(self._backoff, min(entry.due_at for entry in batch.waiting))
        if batch.changes is not None:
            due = batch.changes.next_sleep()
            if due is not None:
                self._sleep = _earlier(self._sleep, due)

    def expiry_due(self, now: float) -> bool:
        """Whether a queued attempt may have expired."""
        return self._expiry is not None and self._expiry <= now

    def backoff_due(self, now: float) -> bool:
        """Whether a backoff may have passed."""
        return self._backoff is not None and self._backoff <= now

    def sleep_due(self, now: float) -> bool:
        """Whether a sleep may be over."""
        return self._sleep is not None and self._sleep <= now

    def next(self, deadline: float | None) -> float | None:
        """The earliest of all and of an execution deadline."""
        return min((at for at in (self._expiry, self._backoff, self._sleep, deadline) if at is not None), default=None)


def _earlier(known: float | None, at: float) -> float:
    return at if known is None else min(known, at)
