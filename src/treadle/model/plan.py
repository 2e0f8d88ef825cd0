"""The tasks of a workflow by number: who waits for whom, and what each of them asks for before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.model.definition import (
    ConditionAction,
    Conditions,
    EventCondition,
    ParentCondition,
    SleepCondition,
    TaskDefinition,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from treadle.model.definition import WorkflowDefinition

TimedCondition = SleepCondition | EventCondition

_NO_CONDITIONS = Conditions()


class Alternatives(NamedTuple):
    """An or-group: one of the members is enough. Sleeps and events are given by their places."""

    parents: tuple[ParentCondition, ...]
    places: tuple[int, ...]


class Demands(NamedTuple):
    """The or-groups of a step for each action. All groups of an action must hold for it to be taken."""

    skip: tuple[Alternatives, ...]
    cancel: tuple[Alternatives, ...]
    queue: tuple[Alternatives, ...]

    @property
    def judges_skips(self) -> bool:
        """Whether the workflow itself says what skipped parents mean for this step."""
        return any(group.parents for group in self.skip)


class Plan:
    """What is the same for all runs of a workflow version. A step is the number of a task in it.

    The workflow must have been checked: its parents exist, and none waits for itself.

    Attributes:
        tasks: The tasks; the failure handler last, if there is one.
        names: Their names, in the same order.
        on_failure: The step of the failure handler. It has no parents and no conditions.
        parents: For each step those it waits for, including parents named by conditions only.
        children: The opposite of ``parents``.
        roots: The steps that wait for none; not the failure handler.
        parent_counts: For each step how many it waits for.
        demands: For each step its conditions; None where it has none.
    """

    __slots__ = (
        "_timed",
        "children",
        "demands",
        "names",
        "on_failure",
        "parent_counts",
        "parents",
        "roots",
        "tasks",
    )

    def __init__(self, workflow: WorkflowDefinition) -> None:
        regular = workflow.tasks
        handler = workflow.on_failure
        self.tasks: tuple[TaskDefinition, ...] = regular if handler is None else (*regular, handler)
        self.names: tuple[str, ...] = tuple(task.readable_id for task in self.tasks)
        self.on_failure: int | None = None if handler is None else len(regular)
        steps = {task.readable_id: step for step, task in enumerate(regular)}
        self.parents: tuple[tuple[int, ...], ...] = tuple(
            tuple(steps[name] for name in _waits_for(task)) if step < len(regular) else ()
            for step, task in enumerate(self.tasks)
        )
        children: list[list[int]] = [[] for _ in self.tasks]
        for step, parents in enumerate(self.parents):
            for parent in parents:
                children[parent].append(step)
        self.children: tuple[tuple[int, ...], ...] = tuple(map(tuple, children))
        self.parent_counts: tuple[int, ...] = tuple(map(len, self.parents))
        self.roots: tuple[int, ...] = tuple(step for step in range(len(regular)) if not self.parents[step])
        conditions = [task.conditions or _NO_CONDITIONS for task in regular]
        if handler is not None:
            conditions.append(_NO_CONDITIONS)
        self._timed: tuple[tuple[TimedCondition, ...], ...] = tuple((*each.sleeps, *each.events) for each in conditions)
        self.demands: tuple[Demands | None, ...] = tuple(
            None if each == _NO_CONDITIONS else _demands(each, timed)
            for each, timed in zip(conditions, self._timed, strict=True)
        )

    def __len__(self) -> int:
        return len(self.tasks)

    def timed(self, step: int) -> tuple[TimedCondition, ...]:
        """The sleeps and then the events of a step. A *place* is an index into these."""
        return self._timed[step]

    def descendants(self, steps: Collection[int]) -> set[int]:
        """All that wait for one of these, directly or not; without those given."""
        found = set(steps)
        todo = list(found)
        while todo:
            for child in self.children[todo.pop()]:
                if child not in found:
                    found.add(child)
                    todo.append(child)
        return found.difference(steps)


def _waits_for(task: TaskDefinition) -> Iterable[str]:
    conditions = task.conditions or _NO_CONDITIONS
    return dict.fromkeys((*task.parents, *(each.parent for each in conditions.parents)))


def _demands(conditions: Conditions, timed: tuple[TimedCondition, ...]) -> Demands:
    groups: dict[ConditionAction, dict[int, tuple[list[ParentCondition], list[int]]]] = {}

    def group(condition: ParentCondition | TimedCondition) -> tuple[list[ParentCondition], list[int]]:
        action = ConditionAction.QUEUE if condition.action is ConditionAction.CREATE else condition.action
        return groups.setdefault(action, {}).setdefault(condition.or_group, ([], []))

    for parent in conditions.parents:
        group(parent)[0].append(parent)
    for place, condition in enumerate(timed):
        group(condition)[1].append(place)
    return Demands(
        *(
            tuple(Alternatives(tuple(parents), tuple(places)) for parents, places in groups.get(action, {}).values())
            for action in (ConditionAction.SKIP, ConditionAction.CANCEL, ConditionAction.QUEUE)
        )
    )
