"""Cancel: stop runs that have not ended, wherever they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.catalog import RUN_STEP
from treadle.engine.finish import end_running, end_waiting
from treadle.engine.moves import Moves
from treadle.engine.ports import StopReason
from treadle.engine.withdraw import withdraw
from treadle.model.dag import StepState
from treadle.model.states import RunStatus
from treadle.storage import workflow as rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from treadle.engine.batch import Batch
    from treadle.engine.catalog import Catalog, TaskKind
    from treadle.engine.running import Running
    from treadle.engine.withdraw import Withdrawn
    from treadle.engine.workflow import WorkflowRun, Workflows
    from treadle.storage.database import Conn, Connect

_AT_ONCE = 1000
"""Most parents whose children are looked for in one statement."""


async def cancel(
    tenant_id: int,
    task_ids: list[str],
    *,
    children: bool = False,
    running: Running,
    workflows: Workflows,
    catalog: Catalog,
    batch: Batch,
    connect: Connect,
) -> list[str]:
    """Cancel these runs.

    Args:
        tenant_id: the caller's tenant.
        task_ids: runs of one task, workflow runs, and tasks of those; what has ended, or is not the tenant's, is left
            alone.
        children: whether to cancel what they have spawned as well, and so on.
        running: the running attempts.
        workflows: the workflow runs in memory.
        catalog: registered task kinds.
        batch: the commit.
        connect: begins its transaction.

    Returns:
        what was cancelled, of what was asked for and of its children.
    """
    cancelling = _Cancelling(tenant_id, running, workflows, catalog, batch, await connect(), connect)
    seen: set[str] = set()
    cancelled = []
    while task_ids:
        ids = [task_id for task_id in dict.fromkeys(task_ids) if task_id not in seen]
        seen.update(ids)
        cancelled += await cancelling.cancel(ids)
        task_ids = await cancelling.spawned(ids) if children else []
    return cancelled


class _Cancelling:
    """One request to cancel on its way into a commit."""

    def __init__(
        self,
        tenant_id: int,
        running: Running,
        workflows: Workflows,
        catalog: Catalog,
        batch: Batch,
        conn: Conn,
        connect: Connect,
    ) -> None:
        self._tenant_id = tenant_id
        self._running = running
        self._workflows = workflows
        self._catalog = catalog
        self._batch = batch
        self._conn = conn
        self._connect = connect
        # Workflow runs that were asked for, also those that had ended.
        self._runs: dict[str, WorkflowRun] = {}

    async def cancel(self, ids: Sequence[str]) -> list[str]:
        taken = await self._withdraw(ids)
        kinds = await self._kinds(taken)
        # A workflow run that another engine has taken in waits like a backoff until it begins.
        unbegun = [entry.task_id for entry in taken if kinds[entry.task_id][0].step == RUN_STEP]
        for entry in taken:
            kind, run_id = kinds[entry.task_id]
            if kind.step != RUN_STEP:
                self._end(entry, kind, run_id)
        cancelled = [entry.task_id for entry in taken]
        rest = set(ids).difference(cancelled)
        members = await rows.find_members(self._conn, tenant_id=self._tenant_id, ids=sorted(rest)) if rest else []
        if members or unbegun:
            whole = [*unbegun, *(member.id for member in members if member.run_id is None)]
            runs = await self._load([*whole, *(member.run_id for member in members if member.run_id is not None)])
            steps = [(runs[member.run_id], member) for member in members if member.run_id in runs]
            moves = Moves(self._catalog, self._batch)
            cancelled += [
                member.id
                for run, member in steps
                if run.state(member.step) < StepState.COMPLETED and moves.cancel_step(run, member.step)
            ]
            self._runs |= {run_id: runs[run_id] for run_id in whole}
            going = [runs[run_id] for run_id in whole if not runs[run_id].progress.finished]
            await self._cancel_whole(going, moves)
            cancelled += [run.id for run in going if run.id not in unbegun]
        return cancelled

    async def spawned(self, ids: Iterable[str]) -> list[str]:
        """The children of these, and of the tasks of those that are workflow runs."""
        parents = []
        for task_id in ids:
            parents.append(task_id)
            run = self._runs.get(task_id)
            if run is not None:
                parents += [run.task_id(step) for step in range(len(run.plan))]
        found = []
        for first in range(0, len(parents), _AT_ONCE):
            chunk = parents[first : first + _AT_ONCE]
            found += await rows.children(self._conn, tenant_id=self._tenant_id, ids=chunk)
        return found

    async def _cancel_whole(self, runs: Sequence[WorkflowRun], moves: Moves) -> None:
        live = {run.id: [s for s in range(len(run.plan)) if run.state(s) == StepState.LIVE] for run in runs}
        steps = {run.task_id(step): (run, step) for run in runs for step in live[run.id]}
        if steps:
            for entry in await self._withdraw(list(steps)):
                run, step = steps[entry.task_id]
                self._end(entry, self._catalog.kind(run.kind.version, step), run.id)
        for run in runs:
            moves.cancel(run, live[run.id])

    async def _withdraw(self, ids: Sequence[str]) -> list[Withdrawn]:
        return await withdraw(
            self._tenant_id, ids, StopReason.CANCELLED, running=self._running, batch=self._batch, conn=self._conn
        )

    async def _kinds(self, taken: Sequence[Withdrawn]) -> Mapping[str, tuple[TaskKind, str | None]]:
        stored = await self._catalog.kinds_of(
            self._conn, [(self._tenant_id, entry.task_id) for entry in taken if entry.ran is None]
        )
        ran = {entry.task_id: (entry.ran.kind, entry.ran.run_id) for entry in taken if entry.ran is not None}
        return {**stored, **ran}

    def _end(self, entry: Withdrawn, kind: TaskKind, run_id: str | None) -> None:
        if entry.ran is not None:
            end_running(entry.ran, RunStatus.CANCELLED, self._batch, error="")
            return
        end_waiting(
            kind,
            entry.task_id,
            entry.attempt,
            RunStatus.CANCELLED,
            self._batch,
            retries_used=entry.retries_used,
            error="",
            run_id=run_id,
        )

    async def _load(self, ids: Iterable[str]) -> dict[str, WorkflowRun]:
        return await self._workflows.load(((self._tenant_id, run_id) for run_id in ids), self._catalog, self._connect)
