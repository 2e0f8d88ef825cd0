"""Moves: what the rules say about a workflow run becomes rows, attempts and events."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.engine import cel
from treadle.engine.attempt import Attempt
from treadle.engine.changes import Changes
from treadle.engine.fail import make_ready
from treadle.engine.finish import note_end
from treadle.engine.ports import Ended
from treadle.engine.scopes import scope_of
from treadle.model.dag import Closed, Finished, Ready, StepState, Wait
from treadle.model.definition import SleepCondition
from treadle.model.states import SKIPPED_OUTPUT, EventKind, RunStatus
from treadle.runtime.clock import moment
from treadle.storage.conditions import ConditionRow
from treadle.storage.trigger import TaskRow

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from treadle.engine.batch import Batch
    from treadle.engine.catalog import Catalog, TaskKind
    from treadle.engine.workflow import WorkflowRun
    from treadle.model.dag import Move, Verdict
    from treadle.model.definition import ParentCondition


class Fact(NamedTuple):
    """Something that a task of a workflow run waits for has come: a sleep is over, or an event was pushed (`data`)."""

    tenant_id: int
    run_id: str
    step: int
    place: int
    data: str | None
    # Whether the table says so already.
    stored: bool = False


class Moves:
    """Carries out the moves of one commit.

    Args:
        catalog: registered task kinds.
        batch: the commit.
    """

    def __init__(self, catalog: Catalog, batch: Batch) -> None:
        self._catalog = catalog
        self._batch = batch
        if batch.changes is None:
            batch.changes = Changes()
        self.changes: Changes = batch.changes

    # -- what happens --------------------------------------------------------------------------------------------

    def begin(self, run: WorkflowRun) -> None:
        """A run begins."""
        self.apply(run, run.progress.begin(self._verdict(run)))

    def ended(self, run: WorkflowRun, ended: Ended) -> None:
        """A task has come to its end, by its worker, its time or its user."""
        step = ended.kind.step
        if ended.status is RunStatus.COMPLETED:
            run.keep_output(step, ended.output)
        if ended.attempt != 1:
            run.attempts[step] = ended.attempt
        self.apply(run, run.progress.ended(step, ended.status, self._verdict(run)))

    def cancel(self, run: WorkflowRun, stopped: Container[int]) -> None:
        """A run is cancelled; the results of the tasks that were `stopped` are in the batch already."""
        self.apply(run, run.progress.cancel_all(), stopped)

    def cancel_step(self, run: WorkflowRun, step: int) -> bool:
        """A task that has not come to be yet is cancelled; False when there is nothing to cancel."""
        moves = run.progress.ended(step, RunStatus.CANCELLED, self._verdict(run))
        if run.state(step) != StepState.CANCELLED:
            return False
        self.apply(run, [Closed(step, StepState.CANCELLED, ""), *moves])
        return True

    def reset(self, run: WorkflowRun, steps: Iterable[int]) -> None:
        """Tasks are as if they had never been, but for the numbers of their attempts, and are decided anew."""
        run.seen = False
        self.apply(run, run.progress.reset(steps, self._verdict(run)))

    def meet(self, run: WorkflowRun, step: int, facts: Iterable[Fact]) -> None:
        """Things that a task waits for have come, all at once."""
        if run.state(step) != StepState.WAITING:
            return
        known = run.met.setdefault(step, {})
        timed = run.plan.timed(step)
        fresh = {fact.place: fact for fact in facts if fact.place not in known}
        number = run.later.get(step, 1)
        for place, fact in fresh.items():
            known[place] = fact.data
            self._batch.note(EventKind.CONDITION_MET, fact.tenant_id, run.task_id(step), number, timed[place].data_key)
        self.apply(run, run.progress.met(step, fresh, self._verdict(run)))
        if run.state(step) == StepState.WAITING:
            for place, fact in fresh.items():
                if not fact.stored:
                    self.changes.meet(run, step, place, fact.data, self._batch.moment)

    # -- what follows --------------------------------------------------------------------------------------------

    def apply(self, run: WorkflowRun, moves: Iterable[Move], stopped: Container[int] = ()) -> None:
        """Carry out moves in order; of tasks in `stopped` the end has been noted."""
        for move in moves:
            match move:
                case Ready(step):
                    self._ready(run, step)
                case Wait():
                    self._wait(run, move)
                case Closed(step):
                    if step not in stopped:
                        self._close(run, move)
                case Finished(status):
                    ended = Ended(run.kind, run.id, 1, status, 0, None, None, None, None, None, None, run.ends)
                    note_end(ended, self._batch)

    def _ready(self, run: WorkflowRun, step: int) -> None:
        triggers = run.triggers(step)
        root, kind, task_id = run.root, self._catalog.kind(run.kind.version, step), run.task_id(step)
        attempt = self._come_to_be(run, kind, task_id, triggers)
        task = Attempt(
            kind=kind,
            task_id=task_id,
            attempt=attempt,
            priority=root.priority,
            input=root.input,
            metadata=root.metadata,
            parent_id=root.parent_id,
            child_index=root.child_index,
            child_key=root.child_key,
            created_at=self._batch.now,
            run_id=run.id,
            triggers=triggers,
        )
        make_ready(task, self._batch)

    def _wait(self, run: WorkflowRun, wait: Wait) -> None:
        step = wait.step
        tenant_id, task_id = run.kind.tenant_id, run.task_id(step)
        run.met[step] = {}
        rows = {}
        for place in wait.places:
            condition = run.plan.timed(step)[place]
            if isinstance(condition, SleepCondition):
                due = moment(self._batch.now + condition.duration_ms / 1000)
                rows[place] = ConditionRow(tenant_id, task_id, run.id, step, place, due, None, None)
            else:
                scope = scope_of(run, step, condition, self._batch)
                rows[place] = ConditionRow(tenant_id, task_id, run.id, step, place, None, condition.event_key, scope)
        self.changes.registered[tenant_id, task_id] = rows
        self._batch.note(EventKind.WAITING, tenant_id, task_id, run.later.get(step, 1))
        self.changes.fresh.append((run, wait))

    def _close(self, run: WorkflowRun, closed: Closed) -> None:
        step = closed.step
        skipped = closed.status == StepState.SKIPPED
        kind, task_id = self._catalog.kind(run.kind.version, step), run.task_id(step)
        attempt = self._come_to_be(run, kind, task_id, None)
        ended = Ended(
            kind,
            task_id,
            attempt,
            RunStatus(closed.status),
            0,
            None,
            None,
            None,
            None if skipped else closed.reason,
            SKIPPED_OUTPUT if skipped else None,
            run.id,
        )
        note_end(ended, self._batch, closed.reason or None)

    def _come_to_be(self, run: WorkflowRun, kind: TaskKind, task_id: str, triggers: str | None) -> int:
        """A task gets its row, or its row gets new triggers; returns the number of its attempt."""
        root, step = run.root, kind.step
        self.changes.wait_no_more(run, step)
        attempt = self.changes.come_now(run, step)
        if attempt is not None:
            self.changes.triggers[kind.tenant_id, task_id] = triggers
            return attempt
        self.changes.steps.append(
            TaskRow(
                kind.tenant_id,
                task_id,
                kind.version,
                step,
                kind.queue_id,
                root.priority,
                self._batch.now,
                b"",
                root.metadata,
                root.parent_id,
                root.child_index,
                root.child_key,
                run.id,
                triggers,
            )
        )
        self._batch.note(EventKind.CREATED, kind.tenant_id, task_id, 1)
        return 1

    # -- expressions ---------------------------------------------------------------------------------------------

    def _verdict(self, run: WorkflowRun) -> Verdict:
        return _Judge(run, self._batch) if run.judged.parents else _unasked


def _unasked(step: int, condition: ParentCondition) -> bool:
    """The judge of workflows without parent conditions."""
    raise AssertionError(f"step {step} has a condition: {condition}")


class _Judge:
    """Says whether parent conditions of a run hold. An expression that fails counts as false, and is noted."""

    __slots__ = ("_batch", "_known", "_run")

    def __init__(self, run: WorkflowRun, batch: Batch) -> None:
        self._run = run
        self._batch = batch
        self._known: cel.Variables | None = None

    def __call__(self, step: int, condition: ParentCondition) -> bool:
        if not condition.expression:
            return True
        run, root = self._run, self._run.root
        if self._known is None:
            self._known = cel.run_variables(input=root.input, metadata=root.metadata, workflow_run_id=run.id)
        output = run.output(run.judged.steps[condition.parent])
        try:
            return cel.evaluate_bool(condition.expression, cel.parent_variables(self._known, output))
        except cel.ExpressionFailed as problem:
            self._batch.note(
                EventKind.EXPRESSION_FAILED,
                run.kind.tenant_id,
                run.task_id(step),
                run.later.get(step, 1),
                f"{condition.data_key}: {problem.reason}",
            )
            return False
