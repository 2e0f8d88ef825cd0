"""An engine's right to write: a row of its own, and the one connection that writes under it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.model.errors import Unavailable
from treadle.model.ids import new_id
from treadle.storage import leases as rows
from treadle.storage.database import connect, is_connection_problem

if TYPE_CHECKING:
    from treadle.storage.database import Conn

WRITER = "treadle scheduler"
"""application_name of the connections that write for engines."""


class Seat:
    """The writer connection and the id under which the engine lives.

    Losing the connection is losing the seat: another engine may take over at once, because nothing can be committed
    without it. A new connection comes with a new id.

    Args:
        url: the database.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._conn: Conn | None = None
        self.engine_id = ""
        self.address = ""

    @property
    def conn(self) -> Conn:
        """The writer connection.

        Raises:
            Unavailable: there is none at the moment.
        """
        if self._conn is None:
            raise Unavailable("database", "the engine has no connection to write with")
        return self._conn

    async def open(self) -> None:
        """Connect and enlist under a new id.

        Raises:
            Unavailable: the database is out of reach.
        """
        self.drop()
        conn = await connect(self._url, name=WRITER)
        engine_id = new_id()
        try:
            await rows.enlist(conn, id=engine_id, address=self.address, schedules=True)
        except BaseException:
            conn.terminate()
            raise
        self._conn = conn
        self.engine_id = engine_id

    def drop(self) -> None:
        """Break the connection, if there is one."""
        if self._conn is not None:
            self._conn.terminate()
            self._conn = None

    async def leave(self) -> None:
        """Give the seat up in good order, so that the next engine need not wait for a silence."""
        conn = self._conn
        if conn is not None:
            self._conn = None
            try:
                await rows.leave(conn, id=self.engine_id)
            except Exception as problem:
                # A seat whose connection is gone is lost already: the next engine sees that at once.
                if not is_connection_problem(problem):
                    raise
            finally:
                await conn.close()
