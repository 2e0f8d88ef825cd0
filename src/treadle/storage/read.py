"""Twins of sql/read.sql: runs as people and other programs look at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from treadle.model.ids import id_at, step_id
from treadle.model.states import EventKind, RunStatus
from treadle.storage.load import statements
from treadle.storage.outcome import with_steps
from treadle.storage.rows import text_or_none

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    import asyncpg

    from treadle.storage.database import Conn

_SQL = statements("read")


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are meant: those that match every part that is given.

    Metadata pairs are alternatives, unless `all_metadata`. With `tasks`, the tasks of workflow runs are meant instead of
    the workflow runs.
    """

    statuses: Collection[RunStatus] = ()
    since: datetime | None = None
    until: datetime | None = None
    workflow_ids: Sequence[str] = ()
    names: Sequence[str] = ()
    metadata: Sequence[tuple[str, str]] = ()
    all_metadata: bool = False
    parent_id: str | None = None
    worker_id: str | None = None
    before: str | None = None
    tasks: bool = False


class RunRow(NamedTuple):
    """One run, or one task of a workflow run, at this moment."""

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
    run_id: str | None
    # Whether it has been replayed and is to come to be again, which it may never do.
    to_come_again: bool
    # Only when they were asked for.
    input: bytes | None
    output: bytes | None


class EndedRow(NamedTuple):
    """A run and, once it has ended, its result; `status` is None before."""

    id: str
    version: int
    step: int
    status: RunStatus | None
    output: bytes | None
    error: str | None
    run_id: str | None


class EventRow(NamedTuple):
    """One event of a run's history."""

    at: datetime
    kind: EventKind
    task_id: str
    attempt: int
    detail: str | None


class LogRow(NamedTuple):
    """A line that a run wrote."""

    task_id: str
    attempt: int
    at: datetime
    level: str
    message: str
    metadata: str | None


class ActiveRow(NamedTuple):
    """A place where a run that has not ended waits or runs; of a workflow run, the place of one of its tasks.

    `status` is a number of `RunStatus`.
    """

    task_id: str
    run_id: str
    status: int
    version: int
    of_workflow: bool


class BegunRow(NamedTuple):
    """A task of a workflow run that runs or has ended."""

    id: str
    status: RunStatus
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None


async def find_any_runs(conn: Conn, *, tenant_id: int, wanted: RunFilter, limit: int) -> list[str]:
    """Ids of runs by filter, newest first, whatever their statuses; storage/find.py minds those."""
    t = _terms(wanted)
    rows = await conn.fetch(
        _SQL["find_any_runs"],
        tenant_id,
        t.since,
        t.until,
        wanted.worker_id,
        t.workflows,
        t.names,
        t.keys,
        t.values,
        wanted.parent_id,
        limit,
        wanted.tasks,
        wanted.all_metadata,
    )
    return [str(row[0]) for row in rows]


async def find_ended_runs(conn: Conn, *, tenant_id: int, wanted: RunFilter, limit: int) -> list[str]:
    """As `find_any_runs`, for runs that have ended with one of the statuses."""
    t = _terms(wanted)
    rows = await conn.fetch(
        _SQL["find_ended_runs"],
        tenant_id,
        t.since,
        t.until,
        wanted.worker_id,
        t.workflows,
        t.names,
        t.keys,
        t.values,
        wanted.parent_id,
        limit,
        wanted.tasks,
        wanted.all_metadata,
        t.statuses,
    )
    return [str(row[0]) for row in rows]


async def find_active(
    conn: Conn, *, tenant_id: int, wanted: RunFilter, since: str | None, before: str | None, limit: int | None
) -> list[ActiveRow]:
    """Where runs wait or run that have not ended, the newest tasks first; of workflow runs, their tasks.

    Args:
        conn: a connection.
        tenant_id: whose.
        wanted: which runs; its times are not looked at.
        since: the lowest id of a task.
        before: all ids of tasks are below it.
        limit: most rows; None for all.
    """
    t = _terms(wanted)
    rows = await conn.fetch(
        _SQL["find_active"],
        tenant_id,
        since,
        before,
        wanted.worker_id,
        t.workflows,
        t.names,
        t.keys,
        t.values,
        wanted.parent_id,
        limit,
        wanted.tasks,
        wanted.all_metadata,
        t.statuses,
    )
    return [_active(row) for row in rows]


async def find_waiting_steps(
    conn: Conn,
    *,
    tenant_id: int,
    wanted: RunFilter,
    since: str | None,
    before: str | None,
    queue_ids: Sequence[int],
    limit: int | None,
) -> list[ActiveRow]:
    """As `find_active`, for tasks of workflow runs that wait, in these queues or outside of any."""
    t = _terms(wanted)
    rows = await conn.fetch(
        _SQL["find_waiting_steps"],
        tenant_id,
        since,
        before,
        queue_ids,
        t.workflows,
        t.names,
        t.keys,
        t.values,
        wanted.parent_id,
        limit,
        wanted.all_metadata,
    )
    return [_active(row) for row in rows]


def _active(row: asyncpg.Record) -> ActiveRow:
    task_id, run_id, status, version, of_workflow = row
    text = str(task_id)
    return ActiveRow(text, text if run_id is None else str(run_id), status, version, of_workflow)


class _Terms(NamedTuple):
    """A filter as parameters."""

    since: str | None
    until: str | None
    statuses: list[int]
    workflows: list[str]
    names: list[str]
    keys: list[str]
    values: list[str]


def _terms(wanted: RunFilter) -> _Terms:
    return _Terms(
        first_id(wanted),
        end_id(wanted),
        [int(status) for status in wanted.statuses],
        list(wanted.workflow_ids),
        list(wanted.names),
        [key for key, _ in wanted.metadata],
        [value for _, value in wanted.metadata],
    )


def first_id(wanted: RunFilter) -> str | None:
    """The lowest id that a filter's time allows."""
    return None if wanted.since is None else id_at(wanted.since.timestamp())


def end_id(wanted: RunFilter) -> str | None:
    """The id below which a filter's time, or its page, allows any."""
    return wanted.before or (None if wanted.until is None else id_at(wanted.until.timestamp()))


async def workflow_queues(conn: Conn, *, tenant_id: int) -> list[int]:
    """The queues in which tasks of a tenant's workflow runs wait."""
    return [row[0] for row in await conn.fetch(_SQL["workflow_queues"], tenant_id)]


async def run_rows(conn: Conn, *, tenant_id: int, ids: Sequence[str]) -> list[RunRow]:
    """What is known of runs and tasks, newest first; unknown ids are left out."""
    found = await bare_rows(conn, tenant_id=tenant_id, ids=ids)
    workflow_runs = {run.id: run.version for run in found if run.step < 0}
    if not workflow_runs:
        return found
    begun = await steps_begun(conn, tenant_id=tenant_id, runs=workflow_runs)
    return [with_steps(run, begun.get(run.id, ())) if run.step < 0 else run for run in found]


async def bare_rows(conn: Conn, *, tenant_id: int, ids: Sequence[str], payloads: bool = False) -> list[RunRow]:
    """As `run_rows`, for those who look at the tasks of workflow runs themselves, and with payloads if they like.

    A workflow run that has not ended seems to be queued.
    """
    return [_run(row) for row in await conn.fetch(_SQL["run_rows"], tenant_id, ids, payloads)]


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
        row[f"{prefix}_attempt"] or row["to_come_as"] or 1,
        row[f"{prefix}_retries"] or 0,
        None if waiting else text_or_none(row[f"{prefix}_worker"]),
        None if waiting else row[f"{prefix}_started"],
        row["finished_at"],
        row["error"],
        text_or_none(row["run_id"]),
        row["to_come_as"] is not None,
        row["input"],
        row["output"],
    )


async def version_sizes(conn: Conn, *, versions: Iterable[int]) -> dict[int, int]:
    """How many tasks each of these versions has, a failure handler included."""
    return {row[0]: row[1] for row in await conn.fetch(_SQL["version_sizes"], sorted(set(versions)))}


async def steps_begun(conn: Conn, *, tenant_id: int, runs: dict[str, int]) -> dict[str, list[BegunRow]]:
    """The tasks that run or have ended, of workflow runs given with their versions."""
    sizes = await version_sizes(conn, versions=runs.values())
    run_of = {step_id(run, step): run for run, version in runs.items() for step in range(sizes.get(version, 0))}
    found: dict[str, list[BegunRow]] = {}
    for row in await conn.fetch(_SQL["steps_begun"], tenant_id, list(run_of)):
        task_id = str(row[0])
        found.setdefault(run_of[task_id], []).append(BegunRow(task_id, RunStatus(row[1]), row[2], row[3], row[4]))
    return found


async def ended_runs(conn: Conn, *, tenant_id: int, ids: Sequence[str]) -> list[EndedRow]:
    """The runs that exist, with the results of those that have ended."""
    rows = await conn.fetch(_SQL["ended_runs"], tenant_id, ids)
    return [
        EndedRow(
            str(row[0]),
            row[1],
            row[2],
            None if row[3] is None else RunStatus(row[3]),
            row[4],
            row[5],
            text_or_none(row[6]),
        )
        for row in rows
    ]


async def count_children(conn: Conn, *, tenant_id: int, ids: Sequence[str]) -> dict[str, int]:
    """How many children tasks have spawned; those that have none are left out."""
    return {str(row[0]): row[1] for row in await conn.fetch(_SQL["count_children"], tenant_id, ids)}


async def run_events(
    conn: Conn, *, tenant_id: int, ids: Sequence[str], since: datetime, until: datetime, limit: int
) -> list[EventRow]:
    """The history of some runs between two times."""
    rows = await conn.fetch(_SQL["run_events"], tenant_id, ids, since, until, limit)
    return [EventRow(row[0], EventKind(row[1]), str(row[2]), row[3], row[4]) for row in rows]


async def run_logs(conn: Conn, *, tenant_id: int, ids: Sequence[str], limit: int) -> list[LogRow]:
    """The first lines that some runs wrote."""
    rows = await conn.fetch(_SQL["run_logs"], tenant_id, ids, limit)
    return [LogRow(str(row[0]), *tuple(row)[1:]) for row in rows]
