"""Twins of sql/read.sql: runs as people and other programs look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.model.ids import step_id
from treadle.model.states import EventKind, RunStatus
from treadle.storage.load import statements
from treadle.storage.outcome import with_steps
from treadle.storage.rows import text_or_none

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    import asyncpg

    from treadle.storage.database import Conn

_SQL = statements("read")


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


class BegunRow(NamedTuple):
    """A task of a workflow run that runs or has ended."""

    id: str
    status: RunStatus
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None


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


async def payload_sizes(conn: Conn, *, tenant_id: int, ids: Sequence[str]) -> dict[str, int]:
    """How many bytes of input and output runs and tasks have."""
    return {str(row[0]): row[1] for row in await conn.fetch(_SQL["payload_sizes"], tenant_id, ids)}


async def payloads(
    conn: Conn, *, tenant_id: int, ids: Sequence[str], max_bytes: int
) -> dict[str, tuple[bytes, bytes | None]]:
    """Input and output of runs and tasks, those that stand first first, as long as they fit."""
    sizes = await payload_sizes(conn, tenant_id=tenant_id, ids=ids)
    chosen = []
    for each in dict.fromkeys(ids):
        max_bytes -= sizes.get(each, 0)
        if max_bytes < 0:
            break
        chosen.append(each)
    return {str(row[0]): (row[1], row[2]) for row in await conn.fetch(_SQL["payloads"], tenant_id, chosen)}


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
