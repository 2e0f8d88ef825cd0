"""Finding runs by filter: they are looked for where those with the wanted statuses are, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

from treadle.model.states import TERMINAL, RunStatus
from treadle.storage import read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from treadle.storage.database import Conn
    from treadle.storage.read import ActiveRow, RunFilter

_OF_RUNS = frozenset(RunStatus) - {RunStatus.SKIPPED}
# Rows read beyond a page: most often they show that nothing is missing from it.
_BEYOND = 64


async def find_runs(conn: Conn, *, tenant_id: int, wanted: RunFilter, limit: int) -> list[str]:
    """Ids of the runs that a filter means, newest first."""
    statuses = frozenset(wanted.statuses)
    if not statuses or statuses >= (frozenset(RunStatus) if wanted.tasks else _OF_RUNS):
        return await read.find_any_runs(conn, tenant_id=tenant_id, wanted=wanted, limit=limit)
    found: list[str] = []
    if ended := statuses & TERMINAL:
        found += await read.find_ended_runs(
            conn, tenant_id=tenant_id, wanted=replace(wanted, statuses=ended), limit=limit
        )
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
    since, before = read.first_id(wanted), read.end_id(wanted)
    if wanted.tasks:
        rows = await read.find_active(conn, tenant_id=tenant_id, wanted=wanted, since=since, before=before, limit=limit)
        return [row.task_id for row in rows]
    queue_ids: list[int] = []
    if RunStatus.QUEUED not in wanted.statuses and wanted.worker_id is None:
        # Between two of its tasks a running workflow run has none that runs.
        queue_ids = await read.workflow_queues(conn, tenant_id=tenant_id)

    async def look(lowest: str | None, upper: str | None, at_most: int | None) -> list[ActiveRow]:
        rows = await read.find_active(
            conn, tenant_id=tenant_id, wanted=wanted, since=lowest, before=upper, limit=at_most
        )
        if queue_ids:
            rows += await read.find_waiting_steps(
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
        begun = await read.steps_begun(conn, tenant_id=tenant_id, runs=doubtful)
        running = RunStatus.RUNNING in wanted.statuses
        found.update(run_id for run_id in doubtful if (run_id in begun) is running)
    return found


def _first_of_alike(id_: str) -> str:
    """The lowest id that begins like this one."""
    return f"{id_[:19]}0000-000000000000"


def _end_of_alike(id_: str) -> str:
    """An id above all that begin like this one."""
    return f"{id_[:19]}ffff-ffffffffffff"
