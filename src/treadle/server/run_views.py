"""Runs as the REST edge shows them, read from the tables."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from treadle.api.backend import EventView, RunDetailsView, RunView, StepView
from treadle.dispatcher.actions import contract_step_id
from treadle.engine.catalog import RUN_STEP
from treadle.model.errors import NotFound
from treadle.monitor.steps import Step, ends_of, named_outputs, steps_of, whole_run
from treadle.runtime.clock import moment
from treadle.storage import read as rows
from treadle.storage.find import find_runs
from treadle.storage.outcome import with_steps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treadle.engine.catalog import Catalog, TaskKind
    from treadle.monitor.steps import WholeRun
    from treadle.runtime.clock import Clock
    from treadle.storage.database import Database
    from treadle.storage.find import RunFilter
    from treadle.storage.read import RunRow

_MAX_EVENTS = 1000
_MAX_PAYLOADS = 32 * 1024 * 1024
"""So many bytes of payloads a page of a list may have; of runs beyond, it says that they are left out."""


class RunViews:
    """Puts views of runs together.

    Args:
        database: where they are.
        catalog: names of their tasks.
        clock: the time.
    """

    def __init__(self, *, database: Database, catalog: Catalog, clock: Clock) -> None:
        self._database = database
        self._catalog = catalog
        self._clock = clock

    async def run(self, tenant_id: int, run_id: str) -> RunDetailsView:
        """One run with its tasks and their history."""
        async with self._database.connection() as conn:
            whole = await whole_run(conn, self._catalog, tenant_id=tenant_id, id=run_id)
            if whole is None:
                raise NotFound("v1-workflow-run", f"no run {run_id}")
            shown = [step.row for step in whole.steps] if whole.is_workflow else [whole.row]
            spawned = await rows.count_children(conn, tenant_id=tenant_id, ids=[row.id for row in shown])
            until = (whole.row.finished_at or moment(self._clock.now())) + timedelta(seconds=1)
            events = await rows.run_events(
                conn,
                tenant_id=tenant_id,
                ids=[row.id for row in shown],
                since=whole.row.created_at,
                until=until,
                limit=_MAX_EVENTS,
            )
        tasks = tuple(self._view(row, spawned) for row in shown)
        run = tasks[0]
        if whole.is_workflow:
            run = self._view(whole.row, {}, output=named_outputs(ends_of(whole.steps)))
        names = {task.id: task.name for task in tasks}
        return RunDetailsView(
            run=run,
            tasks=tasks,
            events=tuple(
                EventView(event.at, event.kind, event.task_id, names[event.task_id], event.attempt, event.detail)
                for event in events
            ),
            shape=self._shape(whole, {row.step: row.id for row in shown}),
        )

    async def task(self, tenant_id: int, task_id: str) -> RunView:
        """One task."""
        async with self._database.connection() as conn:
            whole = await whole_run(conn, self._catalog, tenant_id=tenant_id, id=task_id)
            if whole is None or whole.is_workflow:
                raise NotFound("task", f"no task {task_id}")
            return self._view(whole.row, await rows.count_children(conn, tenant_id=tenant_id, ids=[task_id]))

    async def page(
        self, tenant_id: int, wanted: RunFilter, *, offset: int, limit: int, payloads: bool
    ) -> list[RunView]:
        """A page of runs by filter; workflow runs with their tasks."""
        async with self._database.connection() as conn:
            ids = (await find_runs(conn, tenant_id=tenant_id, wanted=wanted, limit=offset + limit))[offset:]
            found = await rows.bare_rows(conn, tenant_id=tenant_id, ids=ids)
            found = [row for row in found if not row.to_come_again]
            await self._catalog.load_versions(conn, (row.version for row in found))
            workflow_runs = {row.id: row.version for row in found if row.step == RUN_STEP}
            steps = await steps_of(conn, self._catalog, tenant_id=tenant_id, runs=workflow_runs, payloads=False)
            shown = [each for row in found for each in (row, *(step.row for step in steps.get(row.id, ())))]
            spawned = await rows.count_children(conn, tenant_id=tenant_id, ids=[row.id for row in shown])
            given: dict[str, tuple[bytes, bytes | None]] = {}
            if payloads:
                # The input of a task is that of its run.
                wanted_ids = [id_ for row in shown for id_ in (row.run_id or row.id, row.id)]
                given = await rows.payloads(conn, tenant_id=tenant_id, ids=wanted_ids, max_bytes=_MAX_PAYLOADS)

        def view(row: RunRow) -> RunView:
            full = self._with_payloads(row, given)
            restricted = payloads and row.id not in given
            if row.step != RUN_STEP:
                return self._view(full, spawned, restricted=restricted)
            tasks = [Step(step.name, self._with_payloads(step.row, given)) for step in steps[row.id]]
            return self._view(
                with_steps(full, [task.row for task in tasks]),
                spawned,
                output=named_outputs(ends_of(tasks)) if payloads and not restricted else None,
                steps=tuple(view(step.row) for step in steps[row.id]),
                restricted=restricted,
            )

        return [view(row) for row in found]

    @staticmethod
    def _with_payloads(row: RunRow, given: Mapping[str, tuple[bytes, bytes | None]]) -> RunRow:
        nothing = (None, None)
        return row._replace(input=given.get(row.run_id or row.id, nothing)[0], output=given.get(row.id, nothing)[1])

    def _view(
        self,
        row: RunRow,
        spawned: dict[str, int],
        *,
        output: bytes | None = None,
        steps: tuple[RunView, ...] = (),
        restricted: bool = False,
    ) -> RunView:
        kind = self._catalog.kind(row.version, row.step)
        return RunView(
            id=row.id,
            run_id=row.run_id or row.id,
            name=kind.definition.readable_id,
            workflow_id=kind.workflow_id,
            workflow_name=kind.workflow_name,
            version_id=kind.version_id,
            status=row.status,
            attempt=row.attempt,
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            step_id=None if kind.step == RUN_STEP else contract_step_id(kind),
            action=kind.definition.action,
            is_durable=kind.definition.is_durable,
            metadata=row.metadata,
            parent_id=row.parent_id,
            input=row.input,
            output=row.output if output is None else output,
            error=row.error,
            spawned=spawned.get(row.id, 0),
            steps=steps,
            restricted=restricted,
        )

    def _shape(self, whole: WholeRun, come_to_be: dict[int, str]) -> tuple[StepView, ...]:
        kind = whole.kind
        if kind.plan is None:
            return (StepView(contract_step_id(kind), kind.definition.readable_id, (), whole.row.id),)
        steps = [self._step_id(kind, step) for step in range(len(kind.plan))]
        return tuple(
            StepView(steps[step], name, tuple(steps[child] for child in kind.plan.children[step]), come_to_be.get(step))
            for step, name in enumerate(kind.plan.names)
        )

    def _step_id(self, kind: TaskKind, step: int) -> str:
        return contract_step_id(self._catalog.kind(kind.version, step))
