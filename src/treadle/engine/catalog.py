"""The workflows that are registered, kept in memory so that a trigger needs no query."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from treadle.model.dag import Plan
from treadle.model.definition import TaskDefinition, definition_from_json, unsupported_setting
from treadle.model.errors import NotFound
from treadle.storage import register as rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from treadle.model.definition import WorkflowDefinition
    from treadle.storage.database import Conn, Database
    from treadle.storage.register import VersionRow


RUN_STEP = -1
"""The step of a workflow run itself, as opposed to its tasks."""


class TaskKind:
    """What all runs of one task of one workflow version share.

    A workflow run of several tasks, or with anything that makes it more than a run of one task, has a kind of its own
    besides those of its tasks: its `step` is `RUN_STEP`, and it never stands in a queue. All kinds of such a workflow
    share its `plan`, which is None where the run of the one task is the whole run.
    """

    __slots__ = (
        "default_priority",
        "definition",
        "plan",
        "queue_id",
        "refused",
        "schedule_timeout",
        "slots",
        "step",
        "tenant_id",
        "timeout",
        "version",
        "version_id",
        "workflow_id",
        "workflow_name",
    )

    def __init__(
        self, row: VersionRow, workflow: WorkflowDefinition, step: int, queue_id: int, plan: Plan | None = None
    ) -> None:
        self.tenant_id = row.tenant_id
        self.version = row.number
        self.version_id = row.id
        self.workflow_id = row.workflow_id
        self.workflow_name = workflow.name
        self.step = step
        self.queue_id = queue_id
        self.plan = plan
        self.definition, self.slots = _definition(workflow, step)
        self.timeout = self.definition.timeout_ms / 1000
        self.schedule_timeout = self.definition.schedule_timeout_ms / 1000
        self.default_priority = workflow.default_priority
        # Asked of what can be started only.
        self.refused = unsupported_setting(workflow) if plan is None or step == RUN_STEP else None


def _definition(workflow: WorkflowDefinition, step: int) -> tuple[TaskDefinition, tuple[tuple[str, int], ...]]:
    """What a step is, and the slots that it takes."""
    if step == RUN_STEP:
        return TaskDefinition(readable_id=workflow.name, action=""), ()
    if workflow.on_failure is not None and step == len(workflow.tasks):
        task = workflow.on_failure
    else:
        task = workflow.tasks[step]
    return task, task.slot_requests or (("default", 1),)


def _plan(workflow: WorkflowDefinition) -> Plan | None:
    """The plan of a workflow's runs; None when they are runs of one task and nothing else."""
    [first, *others] = workflow.tasks
    simple = not others and workflow.on_failure is None and first.conditions is None
    return None if simple else Plan(workflow)


def plan_of(kind: TaskKind) -> Plan:
    """The plan of a kind that is of a workflow run.

    Raises:
        LookupError: its runs are runs of one task.
    """
    if kind.plan is None:
        msg = f"runs of {kind.workflow_name} have no plan"
        raise LookupError(msg)
    return kind.plan


class StoredTask(NamedTuple):
    """What kind a stored task run is of, and which workflow run it is a task of."""

    kind: TaskKind
    run_id: str | None


class Catalog:
    """Registered task kinds by workflow name (current version) and by version number.

    Args:
        database: where they are stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._current: dict[tuple[int, str], TaskKind] = {}
        self._kinds: dict[tuple[int, int], TaskKind] = {}
        # Counts what was forgotten: a version that was read before is not taken for the current one afterwards.
        self.generation = 0

    async def current(self, tenant_id: int, name: str) -> TaskKind:
        """What a run of a workflow's current version is: a run of its one task, or a workflow run.

        Raises:
            NotFound: no such workflow in this tenant.
        """
        kind = self._current.get((tenant_id, name))
        if kind is not None:
            return kind
        generation = self.generation
        async with self._database.connection() as conn:
            row = await rows.current_version(conn, tenant_id=tenant_id, name=name)
            if row is None:
                raise NotFound(
                    "name", f"no workflow named {name!r} is registered; start a worker that has it, or check the name"
                )
            await self.adopt(conn, [row], current_as_of=generation)
        return self._kinds.get((row.number, RUN_STEP)) or self._kinds[row.number, 0]

    def cached(self, tenant_id: int, name: str) -> TaskKind | None:
        """As `current`, without looking beyond memory."""
        return self._current.get((tenant_id, name))

    def forget(self, tenant_id: int | None) -> None:
        """Another engine has stored a workflow of this tenant (None: of any): which version is current is to be read."""
        self.generation += 1
        self._current = {} if tenant_id is None else {k: v for k, v in self._current.items() if k[0] != tenant_id}

    def kind(self, version: int, step: int) -> TaskKind:
        """The kind of a stored task run; its version must have been loaded."""
        return self._kinds[version, step]

    async def load_versions(self, conn: Conn, versions: Iterable[int]) -> None:
        """Make sure that these versions are in memory."""
        missing = sorted({version for version in versions if (version, 0) not in self._kinds})
        if missing:
            await self.adopt(conn, await rows.versions(conn, numbers=missing))

    async def ensure_versions(self, versions: Iterable[int]) -> None:
        """As `load_versions`, with a connection of its own if one is needed."""
        missing = [version for version in versions if (version, 0) not in self._kinds]
        if missing:
            async with self._database.connection() as conn:
                await self.load_versions(conn, missing)

    async def kinds_of(self, conn: Conn, tasks: Sequence[tuple[int, str]]) -> dict[str, StoredTask]:
        """The kinds of stored task runs, given as (tenant, task id), by task id."""
        if not tasks:
            return {}
        found = await rows.task_versions(
            conn, tenant_ids=[tenant_id for tenant_id, _ in tasks], ids=[task_id for _, task_id in tasks]
        )
        await self.load_versions(conn, (version for _, version, _, _ in found))
        return {task_id: StoredTask(self._kinds[version, step], run_id) for task_id, version, step, run_id in found}

    async def adopt(self, conn: Conn, found: list[VersionRow], *, current_as_of: int | None = None) -> None:
        """Take stored versions into memory.

        Args:
            conn: a connection, for the queues of their actions.
            found: rows of versions.
            current_as_of: for versions that are their workflows' current ones, the generation in which that was read.
        """
        for row in found:
            workflow = definition_from_json(json.loads(row.definition))
            plan = _plan(workflow)
            tasks = workflow.tasks if plan is None else plan.tasks
            actions = [task.action for task in tasks]
            queues = await rows.ensure_queues(conn, tenant_id=row.tenant_id, names=actions)
            kinds = [TaskKind(row, workflow, step, queues[action], plan) for step, action in enumerate(actions)]
            if plan is not None:
                kinds.insert(0, TaskKind(row, workflow, RUN_STEP, 0, plan))
            for kind in kinds:
                self._kinds[row.number, kind.step] = kind
            if current_as_of is not None:
                self._take_current(kinds[0], workflow.name, current_as_of)

    def _take_current(self, kind: TaskKind, name: str, as_of: int) -> None:
        """Take a kind for the current one, unless a newer one is known or may have been stored since it was read."""
        known = self._current.get((kind.tenant_id, name))
        newer = as_of == self.generation if known is None else known.version <= kind.version
        if newer:
            self._current[kind.tenant_id, name] = kind
