"""Twins of sql/leases.sql: which engines live, and who owns which tenant.

Times are the database's own here: engines compare each other's heartbeats, and their clocks may differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.storage.load import statements
from treadle.storage.rows import only, text_or_none

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.storage.database import Conn

_SQL = statements("leases")

SUPERSEDED = "TR001"
"""SQLSTATE of `treadle.fence` when the engine has been superseded."""


class EngineRow(NamedTuple):
    """An engine that lives."""

    id: str
    address: str
    schedules: bool


class LeaseRow(NamedTuple):
    """A tenant and its owner; `engine_id` is None when it has none."""

    tenant_id: int
    engine_id: str | None
    epoch: int


def is_superseded(error: BaseException) -> bool:
    """Whether a transaction was refused because its engine has been superseded."""
    return getattr(error, "sqlstate", None) == SUPERSEDED


async def enlist(conn: Conn, *, id: str, address: str, schedules: bool) -> None:  # noqa: A002 - the column's name
    """Note a new engine; `conn` is the connection that it will write with."""
    await conn.execute(_SQL["enlist"], id, address, schedules)


async def beat(conn: Conn, *, id: str, expiry: float) -> list[str] | None:  # noqa: A002 - the column's name
    """A heartbeat, which also ends the writers of engines that are dead, or silent for longer than `expiry` seconds.

    Returns:
        their ids; None when this engine itself has been superseded.
    """
    row = only(await conn.fetchrow(_SQL["beat"], id, expiry))
    return [str(dead) for dead in row["dead"]] if row["alive"] else None


async def bury(conn: Conn, *, ids: Sequence[str]) -> list[int]:
    """Take away the rows of silent engines; returns the tenants that they owned."""
    return [row[0] for row in await conn.fetch(_SQL["bury"], ids)]


async def look_around(conn: Conn) -> tuple[list[EngineRow], list[LeaseRow]]:
    """Who lives, and every tenant with its owner."""
    engines, leases = [], []
    for tenant_id, engine_id, epoch, address, schedules in await conn.fetch(_SQL["look_around"]):
        if tenant_id is None:
            engines.append(EngineRow(str(engine_id), address, schedules))
        else:
            leases.append(LeaseRow(tenant_id, text_or_none(engine_id), epoch))
    return engines, leases


async def claim(conn: Conn, *, engine_id: str, tenant_ids: Sequence[int]) -> dict[int, int]:
    """Take tenants without an owner; returns the epochs of those that are ours now."""
    return {row[0]: row[1] for row in await conn.fetch(_SQL["claim"], engine_id, tenant_ids)}


async def release(conn: Conn, *, engine_id: str, tenant_ids: Sequence[int]) -> None:
    """Give tenants up."""
    await conn.execute(_SQL["release"], engine_id, tenant_ids)


async def leave(conn: Conn, *, id: str) -> None:  # noqa: A002 - the column's name
    """Take an engine's row away."""
    await conn.execute(_SQL["leave"], id)


async def hint(conn: Conn, *, text: str) -> None:
    """Tell the other engines that something has changed."""
    await conn.execute(_SQL["hint"], text)


async def begin_fenced(conn: Conn, *, engine_id: str) -> None:
    """Open a transaction that only a living engine may commit, in one round trip.

    Raises:
        asyncpg.PostgresError: with SQLSTATE `SUPERSEDED`; no transaction is open then.
    """
    # The simple protocol takes no parameters; the id is our own and holds nothing but hex digits and dashes.
    try:
        await conn.execute(f"BEGIN; SELECT treadle.fence('{engine_id}')")
    except BaseException:
        if not conn.is_closed():
            await conn.execute("ROLLBACK")
        raise


async def commit(conn: Conn) -> None:
    """Commit what `begin_fenced` began."""
    await conn.execute("COMMIT")


async def roll_back(conn: Conn) -> None:
    """Undo what `begin_fenced` began; harmless when nothing is open."""
    if not conn.is_closed():
        await conn.execute("ROLLBACK")
