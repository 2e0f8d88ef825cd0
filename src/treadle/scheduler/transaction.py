"""The transaction of one commit, begun only when something needs it: a small commit is a single statement without one."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from treadle.storage import leases

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from treadle.scheduler.seat import Seat
    from treadle.storage.database import Conn


class Transaction:
    """A transaction that only a living engine can commit.

    Args:
        seat: the right to write, and the connection to write with.
        before: returns once the connection is free.
    """

    def __init__(self, seat: Seat, before: Callable[[], Awaitable[None]]) -> None:
        self._seat = seat
        self.before: Callable[[], Awaitable[None]] | None = before
        self.begun = False

    async def begin(self) -> Conn:
        """Begin it if that has not happened yet.

        Raises:
            Unavailable: the engine has no connection.
            asyncpg.PostgresError: another engine has taken over.
        """
        if self.before is not None:
            await self.before()
        conn = self._seat.conn
        if not self.begun:
            await leases.begin_fenced(conn, engine_id=self._seat.engine_id)
            self.begun = True
        return conn

    async def commit(self) -> None:
        """Commit it."""
        await leases.commit(self._seat.conn)

    async def roll_back(self) -> None:
        """Undo it; harmless if it was never begun, or went with its connection."""
        if self.begun:
            with suppress(Exception):
                await leases.roll_back(self._seat.conn)
