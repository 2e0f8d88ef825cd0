"""Connections to Postgres: one pool for reads and control, and dedicated connections for the engine's own loop."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from treadle.model.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

Conn: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

Connect: TypeAlias = "Callable[[], Awaitable[Conn]]"
"""Begins the transaction of a commit, if that has not happened yet: many commits need not ask any table."""

# Above the number of statements, so that none is ever prepared twice on a connection.
_STATEMENT_CACHE = 300
_COMMAND_TIMEOUT = 60.0

_UNREACHABLE = (
    asyncpg.PostgresConnectionError,
    # The driver's state after a connection broke at a bad moment; the connection is of no use any more.
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    OSError,
    TimeoutError,
)

# ValueError: the driver's answer to a URL that it cannot read.
_CANNOT_CONNECT = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError)


def is_connection_problem(error: BaseException) -> bool:
    """Whether Postgres is gone, restarting or out of room, so that trying again later can help."""
    if isinstance(error, asyncpg.InterfaceError):
        # The driver's name for misuse as well as for a connection that has ended: only the latter passes.
        text = str(error)
        return not isinstance(error, ValueError) and ("clos" in text or "released back to the pool" in text)
    return isinstance(error, _UNREACHABLE)


def is_missing_table(error: BaseException) -> bool:
    """Whether the database lacks a table, because migrations have not been applied to it."""
    return isinstance(error, asyncpg.UndefinedTableError)


async def unlock(conn: Conn, number: int) -> None:
    """Give back a lock of the session. A connection on which that cannot be done is closed, and the lock goes with it."""
    try:
        await conn.execute("SELECT pg_advisory_unlock($1)", number)
    except BaseException:
        conn.terminate()
        raise


async def connect(url: str, *, name: str) -> asyncpg.Connection[asyncpg.Record]:
    """Open one connection outside the pool.

    Args:
        url: postgresql:// URL.
        name: shown as application_name in pg_stat_activity.

    Raises:
        Unavailable: the database does not answer.
    """
    try:
        return await asyncpg.connect(
            url,
            statement_cache_size=_STATEMENT_CACHE,
            max_cacheable_statement_size=0,
            max_cached_statement_lifetime=0,
            command_timeout=_COMMAND_TIMEOUT,
            server_settings={"application_name": name, "jit": "off"},
        )
    except _CANNOT_CONNECT as problem:
        raise Unavailable("database", f"cannot connect: {problem}") from problem


class _Connection(asyncpg.Connection):
    """A connection of the pool. The engine's statements leave nothing on it, so giving it back costs no statement."""

    def get_reset_query(self) -> str:
        return ""


class Database:
    """A bounded pool on one Postgres database.

    Args:
        url: postgresql:// URL.
        size: most connections held at once.
    """

    def __init__(self, url: str, *, size: int = 8) -> None:
        self.url = url
        self._size = size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Connect; idempotent.

        Raises:
            Unavailable: the database does not answer.
        """
        if self._pool is not None:
            return
        try:
            self._pool = await asyncpg.create_pool(
                self.url,
                min_size=1,
                max_size=self._size,
                statement_cache_size=_STATEMENT_CACHE,
                max_cacheable_statement_size=0,
                max_cached_statement_lifetime=0,
                command_timeout=_COMMAND_TIMEOUT,
                server_settings={"application_name": "treadle", "jit": "off"},
                connection_class=_Connection,
            )
        except _CANNOT_CONNECT as problem:
            raise Unavailable("database", f"cannot connect: {problem}") from problem

    async def close(self) -> None:
        """Return every connection."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Conn]:
        """Borrow a connection outside any transaction.

        Raises:
            Unavailable: the database cannot be reached, or went away while the connection was in use.
        """
        if self._pool is None:
            raise Unavailable("database", "the pool is closed")
        try:
            async with self._pool.acquire(timeout=10) as conn:
                yield conn
        except Exception as problem:
            if is_connection_problem(problem):
                raise Unavailable("database", f"lost or out of reach: {problem}") from problem
            raise

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Conn]:
        """Borrow a connection inside a transaction; commits at the end of the block.

        Raises:
            Unavailable: as `connection`; whether the transaction took effect is then unknown.
        """
        async with self.connection() as conn, conn.transaction():
            yield conn
