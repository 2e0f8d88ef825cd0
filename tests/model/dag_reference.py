"""The rules of workflow runs a second time, as one description of how a run ends instead of a sequence of changes.

Nothing of ``treadle.model.dag`` or ``plan`` is used but the names of the states. From the fates of all tasks each final
state follows from those of the parents; conditions are three-valued, as long as sleeps and events may still come.
"""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from tests.model.dag_generator import SKIPPED_OUTPUT, Fate, expression_holds
from treadle.model.dag import StepState
from treadle.model.definition import (
    ConditionAction,
    Conditions,
    EventCondition,
    SleepCondition,
    TaskDefinition,
    WorkflowDefinition,
)
from treadle.model.states import RunStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

GONE_WELL = frozenset({StepState.COMPLETED, StepState.SKIPPED})
GONE_BADLY = frozenset({StepState.FAILED, StepState.CANCELLED})
ENDED = GONE_WELL | GONE_BADLY

SKIP, CANCEL, QUEUE = (
    (ConditionAction.SKIP,),
    (ConditionAction.CANCEL,),
    (ConditionAction.QUEUE, ConditionAction.CREATE),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ends.

    Attributes:
        states: The last state of each task by name. BLOCKED and WAITING: it waits for what never comes.
        status: Of the run; None if it does not end.
        awaited: For each task that had to wait, the places of the sleeps and events that could matter to it.
    """

    states: dict[str, StepState]
    status: RunStatus | None
    awaited: dict[str, frozenset[int]]


def parents_of(task: TaskDefinition) -> set[str]:
    """The parents of a task, those included that only a condition names."""
    return {*task.parents, *(each.parent for each in (task.conditions or Conditions()).parents)}


def outcome(
    workflow: WorkflowDefinition, fates: Mapping[str, Fate], cancelled: Collection[str] = frozenset()
) -> Outcome:
    """How a run with these fates ends if these of its tasks were cancelled by someone before they had ended."""
    tasks = {task.readable_id: task for task in workflow.tasks}
    states: dict[str, StepState] = {}
    awaited: dict[str, frozenset[int]] = {}
    for name in TopologicalSorter({name: parents_of(task) for name, task in tasks.items()}).static_order():
        above = {parent: states[parent] for parent in parents_of(tasks[name])}
        outputs = {
            parent: SKIPPED_OUTPUT if state is StepState.SKIPPED else fates[parent].output
            for parent, state in above.items()
        }
        if GONE_BADLY.intersection(above.values()):
            states[name] = StepState.CANCELLED
        elif ENDED.issuperset(above.values()):
            states[name], waits_for = _decided(tasks[name], above, outputs, fates[name])
            if waits_for is not None:
                awaited[name] = waits_for
        else:
            states[name] = StepState.BLOCKED
        if name in cancelled:
            states[name] = StepState.CANCELLED
    status = _run_status(states.values())
    if workflow.on_failure is not None:
        name = workflow.on_failure.readable_id
        states[name] = StepState.BLOCKED
        if StepState.FAILED in states.values():
            states[name] = StepState.CANCELLED if name in cancelled else StepState(fates[name].status)
    return Outcome(states, status, awaited)


def replayed(workflow: WorkflowDefinition, states: Mapping[str, StepState], *tasks: str) -> set[str]:
    """What a replay starts over: of these tasks, or of the whole run, which has ended."""
    parents = {each.readable_id: parents_of(each) for each in workflow.tasks}
    bad = {name for name in parents if states[name] not in GONE_WELL}
    chosen = set(tasks) or bad or set(parents)
    for name in TopologicalSorter(parents).static_order():
        if parents[name] & chosen:
            chosen.add(name)
    if workflow.on_failure is not None:
        handler = workflow.on_failure.readable_id
        failed = {name for name in parents if states[name] is StepState.FAILED}
        if states[handler] is not StepState.BLOCKED and failed <= chosen:
            chosen.add(handler)
    return chosen


def _run_status(states: Iterable[StepState]) -> RunStatus | None:
    found = set(states)
    if not found <= ENDED:
        return None
    if StepState.FAILED in found:
        return RunStatus.FAILED
    return RunStatus.CANCELLED if StepState.CANCELLED in found else RunStatus.COMPLETED


def _decided(
    task: TaskDefinition, parents: Mapping[str, StepState], outputs: Mapping[str, Mapping[str, int]], fate: Fate
) -> tuple[StepState, frozenset[int] | None]:
    """The end of a task whose parents have gone well, and what it has to wait for on the way, if anything."""
    conditions = task.conditions or Conditions()
    about_skips = any(each.action is ConditionAction.SKIP for each in conditions.parents)
    if parents and set(parents.values()) == {StepState.SKIPPED} and not about_skips:
        return StepState.SKIPPED, None
    awaited: frozenset[int] | None = None
    for moment in range(len(fate.facts) + 1):
        happened = {place for places in fate.facts[:moment] for place in places}
        skip, cancel, queue = (
            _every(_groups(conditions, actions, outputs, happened), without=without)
            for actions, without in ((SKIP, False), (CANCEL, False), (QUEUE, True))
        )
        if skip:
            return StepState.SKIPPED, awaited
        if cancel:
            return StepState.CANCELLED, awaited
        if queue:
            return StepState(fate.status), awaited
        if skip is cancel is queue is False:
            return StepState.SKIPPED, None
        if awaited is None:
            awaited = _awaited(conditions, outputs)
    return StepState.WAITING, awaited


def _awaited(conditions: Conditions, outputs: Mapping[str, Mapping[str, int]]) -> frozenset[int]:
    """The places in groups that the parents don't satisfy, of actions that they don't rule out."""
    found: set[int] = set()
    timed: tuple[SleepCondition | EventCondition, ...] = (*conditions.sleeps, *conditions.events)
    for actions in (SKIP, CANCEL, QUEUE):
        groups = _groups(conditions, actions, outputs, set())
        if False not in groups.values():
            found.update(
                place
                for place, each in enumerate(timed)
                if each.action in actions and groups[each.or_group] is not True
            )
    return frozenset(found)


def _groups(
    conditions: Conditions,
    actions: tuple[ConditionAction, ...],
    outputs: Mapping[str, Mapping[str, int]],
    happened: Collection[int],
) -> dict[int, bool | None]:
    """Of the or-groups of an action: whether each holds; None as long as that is open."""
    members: dict[int, list[bool | None]] = {}
    for parent in conditions.parents:
        if parent.action in actions:
            holds = expression_holds(parent.expression, outputs[parent.parent])
            members.setdefault(parent.or_group, []).append(holds)
    timed: tuple[SleepCondition | EventCondition, ...] = (*conditions.sleeps, *conditions.events)
    for place, each in enumerate(timed):
        if each.action in actions:
            members.setdefault(each.or_group, []).append(True if place in happened else None)
    return {group: True if True in values else (None if None in values else False) for group, values in members.items()}


def _every(groups: Mapping[int, bool | None], *, without: bool) -> bool | None:
    """Whether all groups hold; an action that has none is as ``without`` says."""
    if not groups:
        return without
    return False if False in groups.values() else (None if None in groups.values() else True)
