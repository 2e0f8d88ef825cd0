"""Doctor: finds runs that no engine will ever move again, by what the tables say."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.engine.batch import Batch
from treadle.engine.catalog import RUN_STEP, Catalog
from treadle.engine.moves import Moves
from treadle.engine.workflow import Workflows
from treadle.model.dag import StepState
from treadle.model.ids import id_at
from treadle.model.states import RunStatus
from treadle.storage import doctor as rows
from treadle.storage.conditions import load_conditions
from treadle.storage.retention import day_ids, day_partitions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from treadle.engine.catalog import TaskKind
    from treadle.engine.workflow import WorkflowRun
    from treadle.storage.database import Conn, Database

MAX_FINDINGS = 1000
"""Most findings of one kind that are told."""

_RUNS_AT_ONCE = 200


class Finding(NamedTuple):
    """Something that should not be. `run_id` is that of the whole run, `task` its name where it is known."""

    tenant_id: int
    run_id: str
    task_id: str
    task: str
    problem: str


async def examine_runs(database: Database) -> list[Finding]:
    """Look at every run that has not ended, as of one moment.

    A run has a way forward when an attempt of it is queued, running or backing off, or when it waits for a sleep or an
    event that can still come; a workflow run when each of its tasks has one, has ended, or waits for a task that has.
    Engines may be at work meanwhile.
    """
    async with database.connection() as conn:
        transaction = conn.transaction(isolation="repeatable_read")
        await transaction.start()
        try:
            return await _Examination(conn, Catalog(database)).findings()
        finally:
            # Reading versions asks for their queues in a statement that could make them.
            await transaction.rollback()


class _Examination:
    """One look at everything."""

    def __init__(self, conn: Conn, catalog: Catalog) -> None:
        self._conn = conn
        self._catalog = catalog
        self._found: list[Finding] = []

    async def findings(self) -> list[Finding]:
        await self._narrow_tables()
        days = await day_partitions(self._conn)
        for day in sorted(days["task"]):
            low, high = day_ids(day)
            await self._lost_tasks(low, high)
            await self._workflow_runs(low, high)
        return self._found

    def _add(self, tenant_id: int, run_id: str, task_id: str, task: str, problem: str) -> None:
        self._found.append(Finding(tenant_id, run_id, task_id, task, problem))

    # -- what single rows say ------------------------------------------------------------------------------------

    async def _narrow_tables(self) -> None:
        conn = self._conn
        for orphan in await rows.orphans(conn, limit=MAX_FINDINGS):
            problem = f"is {orphan.place}, but its {orphan.missing} is not stored"
            self._add(orphan.tenant_id, "", orphan.task_id, "", problem)
        for task in await rows.misplaced(conn, limit=MAX_FINDINGS):
            places = " and ".join(task.places)
            if task.status is None:
                problem = f"is in several places at once: {places}"
            else:
                problem = f"ended as {RunStatus(task.status).name}, but still is {places}"
            self._add(task.tenant_id, "", task.task_id, "", problem)
        behind = await rows.left_behind(conn, limit=MAX_FINDINGS)
        await self._catalog.load_versions(conn, {left.version for left in behind if left.version is not None})
        for left in behind:
            if left.place == "replayed" and self._handles_failures(left.version, left.step):
                # It ran, was reset, and was not called again: the number of its next attempt is kept for when it is.
                continue
            problem = f"is {left.place}, but its workflow run has ended"
            self._add(left.tenant_id, left.run_id, left.task_id, self._name(left.version, left.step), problem)

    async def _lost_tasks(self, low: str, high: str) -> None:
        lost = await rows.lost_tasks(self._conn, low=low, high=high, limit=MAX_FINDINGS)
        await self._catalog.load_versions(self._conn, (task.version for task in lost))
        for task in lost:
            self._add(
                task.tenant_id,
                task.run_id or task.id,
                task.id,
                self._name(task.version, task.step),
                "has not ended, and is neither queued, running, backing off nor waiting for anything",
            )

    def _kind(self, version: int | None, step: int | None) -> TaskKind | None:
        try:
            return None if version is None or step is None else self._catalog.kind(version, step)
        except KeyError:
            return None

    def _name(self, version: int | None, step: int | None) -> str:
        kind = self._kind(version, step)
        return "" if kind is None else kind.definition.readable_id

    def _handles_failures(self, version: int | None, step: int | None) -> bool:
        kind = self._kind(version, step)
        return kind is not None and kind.plan is not None and kind.plan.on_failure == step

    # -- what the rules of workflow runs say ---------------------------------------------------------------------

    async def _workflow_runs(self, low: str, high: str) -> None:
        after = id_at(0)
        while True:
            runs = await rows.unended_runs(self._conn, low=low, high=high, after=after, limit=_RUNS_AT_ONCE)
            if not runs:
                return
            after = runs[-1].id
            await self._catalog.load_versions(self._conn, (run.version for run in runs))
            known = []
            for run in runs:
                if self._kind(run.version, RUN_STEP) is not None:
                    known.append((run.tenant_id, run.id))
                else:
                    self._add(run.tenant_id, run.id, run.id, "", "has not ended, but its workflow is not stored")
            # Not to be kept: there may be more than memory holds.
            loaded = await Workflows().load(known, self._catalog, self._connect)
            registered = await self._registered(loaded.values())
            for workflow_run in loaded.values():
                self._workflow_run(workflow_run, registered)

    async def _connect(self) -> Conn:
        return self._conn

    async def _registered(self, runs: Iterable[WorkflowRun]) -> Mapping[str, set[int]]:
        """The places of the sleeps and events that waiting tasks wait for, by task."""
        waiting = [
            (run.kind.tenant_id, run.task_id(step))
            for run in runs
            for step, state in enumerate(run.progress.states)
            if state == StepState.WAITING
        ]
        places: dict[str, set[int]] = {task_id: set() for _, task_id in waiting}
        if waiting:
            for row in await load_conditions(
                self._conn, tenant_ids=[tenant for tenant, _ in waiting], ids=[task_id for _, task_id in waiting]
            ):
                places[waiting[row.task_place][1]].add(row.place)
        return places

    def _workflow_run(self, run: WorkflowRun, registered: Mapping[str, set[int]]) -> None:
        tenant_id = run.kind.tenant_id
        if run.progress.finished:
            self._add(tenant_id, run.id, run.id, run.kind.workflow_name, "has not ended, although all its tasks have")
            return
        # Whatever can be decided should have been. Nothing of this is written.
        moves = Moves(self._catalog, Batch(run.root.created_at))
        before = bytes(run.progress.states)
        moves.begin(run)
        for step in _overdue(before, run):
            self._add(tenant_id, run.id, run.task_id(step), run.plan.names[step], _why(run, step, before))
        for step, state in enumerate(before):
            # One whose parent has failed was cancelled just now, and told of.
            if state == run.state(step) == StepState.WAITING:
                problem = _why_waiting(run, step, moves, registered[run.task_id(step)])
                if problem:
                    self._add(tenant_id, run.id, run.task_id(step), run.plan.names[step], problem)


def _why_waiting(run: WorkflowRun, step: int, moves: Moves, registered: set[int]) -> str:
    """What is wrong with a task that waits for sleeps or events."""
    moves.meet(run, step, ())
    if run.state(step) != StepState.WAITING:
        return "still waits, although what it waits for has come"
    moves.reset(run, [step])
    wanted = moves.changes.registered.get((run.kind.tenant_id, run.task_id(step)), {})
    missing = [run.plan.timed(step)[place].data_key for place in sorted(wanted.keys() - registered)]
    return f"waits for {' and '.join(missing)}, but nothing would tell it" if missing else ""


def _overdue(before: Sequence[int], run: WorkflowRun) -> Iterator[int]:
    """The blocked tasks that should not be any more, without those that only follow from others."""
    for step, state in enumerate(before):
        if state == StepState.BLOCKED and run.state(step) != StepState.BLOCKED:
            ready = all(before[parent] >= StepState.COMPLETED for parent in run.plan.parents[step])
            if ready or _bad_parents(run, step, before):
                yield step


def _bad_parents(run: WorkflowRun, step: int, before: Sequence[int]) -> list[int]:
    return [parent for parent in run.plan.parents[step] if before[parent] in (StepState.FAILED, StepState.CANCELLED)]


def _why(run: WorkflowRun, step: int, before: Sequence[int]) -> str:
    if step == run.plan.on_failure:
        return "has not begun, although a task has failed"
    bad = _bad_parents(run, step, before)
    if bad:
        return f"has not been cancelled, although its parent {run.plan.names[bad[0]]} did not succeed"
    if run.plan.parents[step]:
        return "has not begun, although all its parents have ended"
    return "has not begun, although it waits for no parent"
