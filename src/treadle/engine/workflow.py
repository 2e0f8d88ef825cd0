"""Workflow runs of several tasks, as the engine holds them: a bounded cache of what the tables say."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from treadle.engine.attempt import Attempt, attempt_from_columns
from treadle.engine.catalog import RUN_STEP, plan_of
from treadle.engine.ports import StepEnd
from treadle.model.dag import Progress, StepState
from treadle.model.definition import ConditionAction
from treadle.model.ids import step_ids
from treadle.model.states import SKIPPED_OUTPUT, RunStatus
from treadle.storage import assign as task_rows
from treadle.storage import conditions as condition_rows
from treadle.storage import workflow as rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from treadle.engine.catalog import Catalog, TaskKind
    from treadle.model.plan import Plan
    from treadle.storage.database import Conn, Connect

BOUND = 64 * 1024 * 1024
"""About how many bytes of workflow runs are held; the rest is read from the tables when something happens to it."""

PAYLOAD_KEPT = 8192
"""Inputs and outputs up to this many bytes are kept with their run; larger ones are read when a task needs them."""

# What a run and each of its tasks cost besides payloads, about.
_RUN_WEIGHT = 2000
_STEP_WEIGHT = 200

NO_OUTPUT = b"{}"
"""What a task without an output gives to those that read it."""


class Judged(NamedTuple):
    """What the expressions of a workflow look at.

    The steps by name, those whose outputs must be at hand, and whether the run's input must be. Without `parents` it has
    no parent conditions, and nothing is asked.
    """

    steps: Mapping[str, int]
    outputs: frozenset[int]
    input: bool
    parents: bool


class WorkflowRun:
    """One workflow run.

    Args:
        root: the run as it was triggered; of a kind with a plan.
        judged: what its conditions look at.
    """

    __slots__ = (
        "attempts",
        "counted",
        "id",
        "judged",
        "kind",
        "later",
        "met",
        "outputs",
        "plan",
        "progress",
        "root",
        "seen",
        "task_id",
        "weight",
    )

    def __init__(self, root: Attempt, judged: Judged) -> None:
        self.root = root
        self.id = root.task_id
        self.kind: TaskKind = root.kind
        self.plan: Plan = plan_of(root.kind)
        # The id of one of its tasks.
        self.task_id: Callable[[int], str] = step_ids(self.id)
        self.judged = judged
        self.progress = Progress(self.plan)
        # Whether memory has seen it from its beginning; and of steps that did not end in their first attempts, in which.
        self.seen = True
        self.attempts: dict[int, int] = {}
        # Outputs of completed steps, as far as they are kept.
        self.outputs: dict[int, bytes] = {}
        # Steps that have come to be before, were replayed, and are to come to be again: their next attempts.
        self.later: dict[int, int] = {}
        # Of each waiting step the places that are met, with the payloads of events.
        self.met: dict[int, dict[int, str | None]] = {}
        self.weight = _RUN_WEIGHT + _STEP_WEIGHT * len(self.plan) + len(root.input or b"")
        self.counted = 0

    def state(self, step: int) -> int:
        """A `StepState`."""
        return self.progress.states[step]

    def keep_output(self, step: int, output: bytes | None) -> None:
        """A step has completed."""
        if output is None:
            output = NO_OUTPUT
            self.seen = False
        if len(output) <= PAYLOAD_KEPT or step in self.judged.outputs:
            self.outputs[step] = output
            self.weight += len(output)

    def forget_output(self, step: int) -> None:
        """A step is to run again."""
        self.weight -= len(self.outputs.pop(step, b""))

    def ends(self) -> list[StepEnd] | None:
        """How each of its tasks has ended, if it completed and memory knows; otherwise the tables do."""
        if not self.seen or self.progress.status() is not RunStatus.COMPLETED:
            return None
        found = []
        for step, state in enumerate(self.progress.states):
            if state < StepState.COMPLETED:
                continue  # a failure handler that nothing has called for
            output = self.output(step)
            if output is None:
                return None
            found.append(
                StepEnd(
                    self.plan.names[step],
                    self.task_id(step),
                    RunStatus(state),
                    self.attempts.get(step, 1),
                    output,
                    None,
                )
            )
        return found

    def output(self, step: int) -> bytes | None:
        """The output of a step that was completed or skipped; None when it is not kept here."""
        return SKIPPED_OUTPUT if self.state(step) == StepState.SKIPPED else self.outputs.get(step)

    def triggers(self, step: int) -> str | None:
        """What has let a waiting step start, by data key: payloads of events, nothing for sleeps."""
        met = self.met.get(step)
        if not met:
            return None
        timed = self.plan.timed(step)
        found = {
            timed[place].data_key: data or "{}"
            for place, data in sorted(met.items())
            if timed[place].action in (ConditionAction.QUEUE, ConditionAction.CREATE)
        }
        return "{" + ",".join(f"{json.dumps(key)}:{data}" for key, data in found.items()) + "}" if found else None


class Workflows:
    """The workflow runs that are held in memory, the least recently used ones given up first.

    Args:
        bound: about how many bytes.
    """

    def __init__(self, bound: int = BOUND) -> None:
        self._bound = bound
        self._weight = 0
        self._runs: OrderedDict[str, WorkflowRun] = OrderedDict()
        self._judged: dict[int, Judged] = {}
        # Those that may have grown in this commit.
        self._touched: dict[str, WorkflowRun] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def holds(self, tenant_id: int, run_id: str) -> bool:
        """Whether a run is in memory and has not ended, so that its end will be told."""
        run = self._runs.get(run_id)
        return run is not None and run.kind.tenant_id == tenant_id and not run.progress.finished

    def find(self, run_id: str) -> WorkflowRun | None:
        """A run, if it is in memory."""
        return self._runs.get(run_id)

    def begin(self, root: Attempt) -> WorkflowRun:
        """Take in a run that is new."""
        run = WorkflowRun(root, self._judgement(root.kind))
        self._add(run)
        return run

    async def load(self, keys: Iterable[tuple[int, str]], catalog: Catalog, connect: Connect) -> dict[str, WorkflowRun]:
        """Workflow runs, given as (tenant, id), from memory or the tables; what is none is left out."""
        found: dict[str, WorkflowRun] = {}
        missing: list[tuple[int, str]] = []
        for key in dict.fromkeys(keys):
            run = self._runs.get(key[1])
            if run is None:
                missing.append(key)
            elif run.kind.tenant_id == key[0]:
                self._runs.move_to_end(run.id)
                self._touched[run.id] = found[run.id] = run
        if missing:
            found |= await self._read(missing, catalog, connect)
        return found

    async def load_judged_inputs(self, runs: Iterable[WorkflowRun], connect: Connect) -> None:
        """Make sure that inputs are at hand where expressions of conditions may ask for them."""
        roots = [run.root for run in runs if run.judged.input and run.root.input is None]
        if roots:
            inputs = await task_rows.load_inputs(
                await connect(),
                tenant_ids=[root.kind.tenant_id for root in roots],
                ids=[root.task_id for root in roots],
            )
            for root in roots:
                root.input = inputs[root.task_id]

    def trim(self) -> None:
        """After a commit: give up what is beyond the bound."""
        if not self._touched:
            return
        for run in self._touched.values():
            self._weight += run.weight - run.counted
            run.counted = run.weight
        self._touched = {}
        while self._weight > self._bound and self._runs:
            _, run = self._runs.popitem(last=False)
            self._weight -= run.counted

    def _add(self, run: WorkflowRun) -> None:
        self._runs[run.id] = self._touched[run.id] = run

    def _judgement(self, kind: TaskKind) -> Judged:
        found = self._judged.get(kind.version)
        if found is None:
            plan = plan_of(kind)
            steps = {name: step for step, name in enumerate(plan.names)}
            conditions = [task.conditions for task in plan.tasks if task.conditions is not None]
            parents = [condition for each in conditions for condition in each.parents]
            outputs = frozenset(steps[condition.parent] for condition in parents if condition.expression)
            scoped = any(event.scope_expression is not None for each in conditions for event in each.events)
            found = self._judged[kind.version] = Judged(steps, outputs, bool(outputs) or scoped, bool(parents))
        return found

    async def _read(
        self, keys: Sequence[tuple[int, str]], catalog: Catalog, connect: Connect
    ) -> dict[str, WorkflowRun]:
        """Work out from the tables how far runs are."""
        conn = await connect()
        found = await rows.load_runs(
            conn,
            tenant_ids=[tenant_id for tenant_id, _ in keys],
            ids=[run_id for _, run_id in keys],
            input_limit=PAYLOAD_KEPT,
        )
        await catalog.load_versions(conn, (row.task.version for row in found))
        runs = [self._unread(row, catalog) for row in found]
        places = [(run, step) for run in runs for step in range(len(run.plan))]
        states = {run.id: bytearray(len(run.plan)) for run in runs}
        if places:
            await self._read_steps(places, states, conn)
            await self._read_conditions([place for place in places if place[0].plan.timed(place[1])], states, conn)
        for run in runs:
            run.progress = Progress.restore(run.plan, states[run.id], run.met)
            self._add(run)
        await self.load_judged_inputs(runs, connect)
        return {run.id: run for run in runs}

    def _unread(self, row: rows.RunColumns, catalog: Catalog) -> WorkflowRun:
        kind = catalog.kind(row.task.version, RUN_STEP)
        root = attempt_from_columns(kind, task_id=row.id, attempt=1, columns=row.task)
        run = WorkflowRun(root, self._judgement(kind))
        run.seen = False
        return run

    @staticmethod
    async def _read_steps(
        places: Sequence[tuple[WorkflowRun, int]], states: Mapping[str, bytearray], conn: Conn
    ) -> None:
        found = await rows.load_steps(
            conn,
            tenant_ids=[run.kind.tenant_id for run, _ in places],
            ids=[run.task_id(step) for run, step in places],
            whole=[step in run.judged.outputs for run, step in places],
            output_limit=PAYLOAD_KEPT,
        )
        for row in found:
            run, step = places[row.place]
            if row.replayed_as is not None:
                run.later[step] = row.replayed_as
            elif row.status is None:
                states[run.id][step] = StepState.LIVE
            else:
                states[run.id][step] = row.status
                if row.status == StepState.COMPLETED and (row.output is not None or step in run.judged.outputs):
                    run.keep_output(step, row.output)

    @staticmethod
    async def _read_conditions(
        places: Sequence[tuple[WorkflowRun, int]], states: Mapping[str, bytearray], conn: Conn
    ) -> None:
        if not places:
            return
        found = await condition_rows.load_conditions(
            conn,
            tenant_ids=[run.kind.tenant_id for run, _ in places],
            ids=[run.task_id(step) for run, step in places],
        )
        for row in found:
            run, step = places[row.task_place]
            states[run.id][step] = StepState.WAITING
            met = run.met.setdefault(step, {})
            if row.met:
                met[row.place] = row.data
