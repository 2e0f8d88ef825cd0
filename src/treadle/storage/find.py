"""Finding runs by filter: they are looked for where those with the wanted statuses are, and nowhere else.

With the twins of sql/find.sql below.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from treadle.model.ids import id_at
from treadle.model.states import TERMINAL, RunStatus
from treadle.storage.load import statements
from treadle.storage.read import steps_begun

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    import asyncpg

    from treadle.storage.database import Conn

_SQL = statements("find")

_OF_RUNS = frozenset(RunStatus) - {RunStatus.SKIPPED}
# Rows read beyond a page: most often they show that nothing is missing from it.
_BEYOND = 64


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


class ActiveRow(NamedTuple):
    """A place where a run that has not ended waits or runs; of a workflow run, the place of one of its tasks.

    `status` is a number of `RunStatus`.
    """

    task_id: str
    run_id: str
    status: int
    version: int
    of_workflow: bool


async def find_runs(conn: Conn, *, tenant_id: int, wanted: RunFilter, limit: int) -> list[str]:
    """Ids of the runs that a filter means, newest first."""
    statuses = frozenset(wanted.statuses)
    if not statuses or statuses >= (frozenset(RunStatus) if wanted.tasks else _OF_RUNS):
        return await find_any_runs(conn, tenant_id=tenant_id, wanted=wanted, limit=limit)
    found: list[str] = []
    if ended := statuses & TERMINAL:
        found += await find_ended_runs(conn, tenant_id=tenant_id, wanted=replace(wanted, statuses=ended), limit=limit)
    if active := statuses - TERMINAL:
        found += await find_active_runs(conn, tenant_id=tenant_id, wanted=replace(wanted, statuses=active), limit=limit)
    # A run that ended between the two looks stands in both.
    return sorted(set(found), reverse=True)[:limit]


async def find_active_runs(conn: Conn, *, tenant_id: int, wanted: RunFilter, limit: int) -> list[str]:
    """As `find_runs`, for statuses of runs that have not ended.

    Workflow runs are found by their tasks. All of those share the first half of the run's id with it, so reading tasks
    from the newest on gives the runs in order, but for those whose ids begin alike: of these the last are looked at only
    once all of them have been read.
    """
    since, before = _first_id(wanted), _end_id(wanted)
    if wanted.tasks:
        rows = await find_active(conn, tenant_id=tenant_id, wanted=wanted, since=since, before=before, limit=limit)
        return [row.task_id for row in rows]
    queue_ids: list[int] = []
    if RunStatus.QUEUED not in wanted.statuses and wanted.worker_id is None:
        # Between two of its tasks a running workflow run has none that runs.
        queue_ids = await workflow_queues(conn, tenant_id=tenant_id)

    async def look(lowest: str | None, upper: str | None, at_most: int | None) -> list[ActiveRow]:
        rows = await find_active(conn, tenant_id=tenant_id, wanted=wanted, since=lowest, before=upper, limit=at_most)
        if queue_ids:
            rows += await find_waiting_steps(
                conn,
                tenant_id=tenant_id,
                wanted=wanted,
                since=lowest,
                before=upper,
                queue_ids=queue_ids,
                limit=at_most,
            )
            rows.sort(key=attrgetter("task_id"), reverse=True)
        return rows[:at_most]

    found: set[str] = set()
    upper = None if before is None else _end_of_alike(before)
    page = limit + _BEYOND
    while True:
        rows = await look(since, upper, page)
        if len(rows) < page:
            found.update(await _wanted_runs(conn, tenant_id, wanted, rows, before))
            break
        last = rows[-1].task_id
        upper = _first_of_alike(last)
        whole = [row for row in rows if row.task_id > _end_of_alike(last)]
        found.update(await _wanted_runs(conn, tenant_id, wanted, whole, before))
        if len(found) < limit:
            # Not enough: those that begin like the last are needed after all.
            alike = await look(max(upper, since or upper), _end_of_alike(last), None)
            found.update(await _wanted_runs(conn, tenant_id, wanted, alike, before))
        if len(found) >= limit:
            break
    return sorted(found, reverse=True)[:limit]


async def _wanted_runs(
    conn: Conn, tenant_id: int, wanted: RunFilter, rows: Iterable[ActiveRow], before: str | None
) -> set[str]:
    """The runs behind rows whose status is a wanted one."""
    found: set[str] = set()
    doubtful: dict[str, int] = {}
    both = len(set(wanted.statuses)) > 1
    for row in rows:
        if before is not None and row.run_id >= before:
            continue
        if both or not row.of_workflow or row.status == RunStatus.RUNNING:
            found.add(row.run_id)
        else:
            doubtful[row.run_id] = row.version
    for run_id in found:
        doubtful.pop(run_id, None)
    if doubtful:
        begun = await steps_begun(conn, tenant_id=tenant_id, runs=doubtful)
        running = RunStatus.RUNNING in wanted.statuses
        found.update(run_id for run_id in doubtful if (run_id in begun) is running)
    return found


def _first_of_alike(id_: str) -> str:
    """The lowest id that begins like this one."""
    return f"{id_[:19]}0000-000000000000"


def _end_of_alike(id_: str) -> str:
    """An id above all that begin like this one."""
    return f"{id_[:19]}ffff-ffffffffffff"


# -- twins of sql/find.sql -------------------------------------------------------------------------------------------


async def find_any_runs(conn: Conn, *, tenant_id: int, wanted: RunFilter, limit: int) -> list[str]:
    """Ids of runs by filter, newest first, whatever their statuses."""
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
        _first_id(wanted),
        _end_id(wanted),
        [int(status) for status in wanted.statuses],
        list(wanted.workflow_ids),
        list(wanted.names),
        [key for key, _ in wanted.metadata],
        [value for _, value in wanted.metadata],
    )


def _first_id(wanted: RunFilter) -> str | None:
    """The lowest id that a filter's time allows."""
    return None if wanted.since is None else id_at(wanted.since.timestamp())


def _end_id(wanted: RunFilter) -> str | None:
    """The id below which a filter's time, or its page, allows any."""
    return wanted.before or (None if wanted.until is None else id_at(wanted.until.timestamp()))


async def workflow_queues(conn: Conn, *, tenant_id: int) -> list[int]:
    """The queues in which tasks of a tenant's workflow runs wait."""
    return [row[0] for row in await conn.fetch(_SQL["workflow_queues"], tenant_id)]
