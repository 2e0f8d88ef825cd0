"""Twins of sql/doctor.sql: rows that no engine could go on from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.storage.load import statements
from treadle.storage.rows import text_or_none

if TYPE_CHECKING:
    from treadle.storage.database import Conn

_SQL = statements("doctor")


class LostTask(NamedTuple):
    """A task without a result that is nowhere."""

    tenant_id: int
    id: str
    run_id: str | None
    version: int
    step: int


class UnendedRun(NamedTuple):
    """A workflow run that has begun and not ended."""

    tenant_id: int
    id: str
    version: int


class Misplaced(NamedTuple):
    """A task that is in too many places, or in one although it has ended (`status`)."""

    tenant_id: int
    task_id: str
    places: list[str]
    status: int | None


class Orphan(NamedTuple):
    """A row about a task where something is not stored: the run itself, the workflow run, or the workflow."""

    tenant_id: int
    task_id: str
    place: str
    missing: str


class LeftBehind(NamedTuple):
    """A task that is somewhere although its workflow run has ended; one that never came to be has no version."""

    tenant_id: int
    task_id: str
    run_id: str
    place: str
    version: int | None
    step: int | None


async def lost_tasks(conn: Conn, *, low: str, high: str, limit: int) -> list[LostTask]:
    """Tasks made between two ids that have no result and are nowhere."""
    rows = await conn.fetch(_SQL["lost_tasks"], low, high, limit)
    return [LostTask(row[0], str(row[1]), text_or_none(row[2]), row[3], row[4]) for row in rows]


async def unended_runs(conn: Conn, *, low: str, high: str, after: str, limit: int) -> list[UnendedRun]:
    """Workflow runs made between two ids, after another one, that have begun and not ended, in order."""
    rows = await conn.fetch(_SQL["unended_runs"], low, high, after, limit)
    return [UnendedRun(row[0], str(row[1]), row[2]) for row in rows]


async def misplaced(conn: Conn, *, limit: int) -> list[Misplaced]:
    """Tasks in more than one place, and ended ones that still are in any."""
    rows = await conn.fetch(_SQL["misplaced"], limit)
    return [Misplaced(row[0], str(row[1]), row[2], row[3]) for row in rows]


async def orphans(conn: Conn, *, limit: int) -> list[Orphan]:
    """Rows about tasks that are not stored, or whose workflow runs or workflows are not."""
    rows = await conn.fetch(_SQL["orphans"], limit)
    return [Orphan(row[0], str(row[1]), row[2], row[3]) for row in rows]


async def left_behind(conn: Conn, *, limit: int) -> list[LeftBehind]:
    """Tasks that are somewhere although their workflow runs have ended."""
    rows = await conn.fetch(_SQL["left_behind"], limit)
    return [LeftBehind(row[0], str(row[1]), str(row[2]), row[3], row[4], row[5]) for row in rows]
