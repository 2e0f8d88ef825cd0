"""Twins of sql/read.sql: runs as people and other programs look at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from treadle.model.ids import id_at
from treadle.model.states import TERMINAL, EventKind, RunStatus
from treadle.storage.load import statements
from treadle.storage.rows import text_or_none

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    import asyncpg

    from treadle.storage.database import Conn

_SQL = statements("read")


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are meant: those that match every part that is given. Metadata pairs are alternatives."""

    statuses: Collection[RunStatus] = ()
    since: datetime | None = None
    until: datetime | None = None
    workflow_ids: Sequence[str] = ()
    names: Sequence[str] = ()
    metadata: Sequence[tuple[str, str]] = ()
    parent_id: str | None = None
    before: str | None = None


class RunRow(NamedTuple):
    """One run at this moment."""

    id: str
    version: int
    step: int
    priority: int
    metadata: str | None
    parent_id: str | None
    created_at: datetime
    status: RunStatus
    attempt: int
    retries_used: int
    worker_id: str | None
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None


class Payloads(NamedTuple):
    """Input, output and error of a run."""

    input: bytes
    output: bytes | None
    error: str | None


class EndedRow(NamedTuple):
    """A run and, once it has ended, its result; `status` is None before."""

    id: str
    version: int
    step: int
    status: RunStatus | None
    output: bytes | None
    error: str | None


class EventRow(NamedTuple):
    """One event of a run's history."""

    at: datetime
    kind: EventKind
    attempt: int
    detail: str | None


class LogRow(NamedTuple):
    """A line that a run wrote."""

    attempt: int
    at: datetime
    level: str
    message: str
    metadata: str | None


async def find_runs(conn: Conn, *, tenant_id: int, wanted: RunFilter, limit: int) -> list[str]:
    """Ids of runs by filter, newest first. Runs are looked for where those with the statuses are, and nowhere else."""
    if wanted.statuses and TERMINAL.issuperset(wanted.statuses):
        return await find_ended_runs(conn, tenant_id=tenant_id, wanted=wanted, limit=limit)
    if wanted.statuses and TERMINAL.isdisjoint(wanted.statuses):
        return await find_active_runs(conn, tenant_id=tenant_id, wanted=wanted, limit=limit)
    t = _terms(wanted)
    rows = await conn.fetch(
        _SQL["find_runs"],
        tenant_id,
        t.since,
        t.until,
        t.statuses,
        t.workflows,
        t.names,
        t.keys,
        t.values,
        t.parent,
        limit,
    )
    return [str(row[0]) for row in rows]


async def find_ended_runs(conn: Conn, *, tenant_id: int, wanted: RunFilter, limit: int) -> list[str]:
    """As `find_runs`, for statuses of runs that have ended."""
    t = _terms(wanted)
    rows = await conn.fetch(
        _SQL["find_ended_runs"],
        tenant_id,
        t.since,
        t.until,
        t.statuses,
        t.workflows,
        t.names,
        t.keys,
        t.values,
        t.parent,
        limit,
    )
    return [str(row[0]) for row in rows]


async def find_active_runs(conn: Conn, *, tenant_id: int, wanted: RunFilter, limit: int) -> list[str]:
    """As `find_runs`, for statuses of runs that have not ended."""
    t = _terms(wanted)
    rows = await conn.fetch(
        _SQL["find_active_runs"],
        tenant_id,
        t.since,
        t.until,
        t.statuses,
        t.workflows,
        t.names,
        t.keys,
        t.values,
        t.parent,
        limit,
    )
    return [str(row[0]) for row in rows]


class _Terms(NamedTuple):
    """A filter as parameters."""

    since: str | None
    until: str | None
    statuses: list[int]
    workflows: list[str]
    names: list[str]
    keys: list[str]
    values: list[str]
    parent: str | None


def _terms(wanted: RunFilter) -> _Terms:
    return _Terms(
        None if wanted.since is None else id_at(wanted.since.timestamp()),
        wanted.before or (None if wanted.until is None else id_at(wanted.until.timestamp())),
        [int(status) for status in wanted.statuses],
        list(wanted.workflow_ids),
        list(wanted.names),
        [key for key, _ in wanted.metadata],
        [value for _, value in wanted.metadata],
        wanted.parent_id,
    )


async def run_rows(conn: Conn, *, tenant_id: int, ids: Sequence[str]) -> list[RunRow]:
    """What is known of runs, newest first; unknown ids are left out."""
    return [_run(row) for row in await conn.fetch(_SQL["run_rows"], tenant_id, ids)]


def _run(row: asyncpg.Record) -> RunRow:
    ended = row["result_status"] is not None
    running = not ended and row["running_attempt"] is not None
    prefix = "result" if ended else "running" if running else "waiting"
    status = RunStatus(row["result_status"]) if ended else RunStatus.RUNNING if running else RunStatus.QUEUED
    waiting = prefix == "waiting"
    return RunRow(
        str(row["id"]),
        row["version"],
        row["step"],
        row["priority"],
        row["metadata"],
        text_or_none(row["parent_id"]),
        row["created_at"],
        status,
        row[f"{prefix}_attempt"] or 1,
        row[f"{prefix}_retries"] or 0,
        None if waiting else text_or_none(row[f"{prefix}_worker"]),
        None if waiting else row[f"{prefix}_started"],
        row["finished_at"],
        row["error"],
    )


async def payloads(conn: Conn, *, tenant_id: int, id: str) -> Payloads | None:  # noqa: A002 - the column's name
    """Input, output and error of a run; None when it is unknown."""
    row = await conn.fetchrow(_SQL["payloads"], tenant_id, id)
    return None if row is None else Payloads(row[0], row[1], row[2])


async def ended_runs(conn: Conn, *, tenant_id: int, ids: Sequence[str]) -> list[EndedRow]:
    """The runs that exist, with the results of those that have ended."""
    rows = await conn.fetch(_SQL["ended_runs"], tenant_id, ids)
    return [
        EndedRow(str(row[0]), row[1], row[2], None if row[3] is None else RunStatus(row[3]), row[4], row[5])
        for row in rows
    ]


async def run_events(
    conn: Conn,
    *,
    tenant_id: int,
    id: str,  # noqa: A002 - the column's name
    since: datetime,
    until: datetime,
    limit: int,
) -> list[EventRow]:
    """The history of one run between two times."""
    rows = await conn.fetch(_SQL["run_events"], tenant_id, id, since, until, limit)
    return [EventRow(row[0], EventKind(row[1]), row[2], row[3]) for row in rows]


async def run_logs(conn: Conn, *, tenant_id: int, id: str, limit: int) -> list[LogRow]:  # noqa: A002 - the column's name
    """The first lines that a run wrote."""
    rows = await conn.fetch(_SQL["run_logs"], tenant_id, id, limit)
    return [LogRow(*row) for row in rows]
