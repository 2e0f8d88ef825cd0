"""Random workflows of several tasks, and what becomes of their tasks once they may run.

Plain functions of a ``random.Random``, for tests of the rules and of whole engines alike. Such a test carries the fates
out: a task that runs ends as its fate says; a task that waits gets the facts of its fate, in their order. Then
``dag_reference.outcome`` says in which states all must end, whatever the order among tasks.

With a real clock to move, the order of facts is kept by pushing events as long as the next fact of any waiting task
is one, and moving the clock to the next sleep only then: facts are ordered by the durations of their sleeps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from treadle.model.definition import (
    ConditionAction,
    Conditions,
    EventCondition,
    ParentCondition,
    SleepCondition,
    TaskDefinition,
    WorkflowDefinition,
)
from treadle.model.states import RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

NEVER_MS = 90 * 86_400_000
"""The duration of a sleep that no test waits for."""

SKIPPED_OUTPUT: Mapping[str, int] = {"skipped": True}

EXPRESSIONS: Mapping[str, Callable[[Mapping[str, int]], bool]] = {
    "": lambda _: True,
    "output.n < 5": lambda output: "n" in output and output["n"] < 5,
    "output.n >= 5": lambda output: "n" in output and output["n"] >= 5,
    "has(output.skipped)": lambda output: "skipped" in output,
    "!has(output.skipped)": lambda output: "skipped" not in output,
    "output.absent == 1": lambda _: False,
}
"""CEL expressions about the output of a parent, and what they say. One that cannot be evaluated counts as false."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a task.

    Attributes:
        status: COMPLETED or FAILED: how it ends if it runs.
        output: What it returns if it completes.
        facts: While it waits, these of its sleeps and events come true, one tuple after the other, those of a tuple
            together. Numbered as in ``Plan.timed``: the sleeps, then the events. Those not registered don't matter.
    """

    status: RunStatus
    output: Mapping[str, int]
    facts: tuple[tuple[int, ...], ...]


def random_workflow(
    rng: Random, *, name: str = "dag", max_tasks: int = 60, conditions: float = 0.4, never: float = 0.1
) -> WorkflowDefinition:
    """A workflow without cycles, its tasks in any order, half of the time with a failure handler.

    Args:
        rng: All chance.
        name: Of the workflow; also the service of its tasks' actions.
        max_tasks: Without the failure handler.
        conditions: The share of tasks that have some.
        never: The share of sleeps that last longer than any test.
    """
    count = rng.randint(1, rng.choice((min(6, max_tasks), max_tasks)))
    names = [f"t{number}" for number in range(count)]
    rng.shuffle(names)
    # Long thin ones as well as flat ones: how far back parents may lie, and how many there are.
    reach, most = rng.choice((1, 3, count)), rng.choice((1, 2, 4))
    tasks: list[TaskDefinition] = []
    for position, task in enumerate(names):
        near = names[max(0, position - reach) : position]
        parents = tuple(
            rng.sample(near, rng.randint(0 if rng.random() < 0.2 else min(1, len(near)), min(most, len(near))))
        )
        tasks.append(TaskDefinition(readable_id=task, action=f"{name}:{task}", parents=parents))
        if rng.random() < conditions:
            # Any earlier task may be named by a condition, and by that becomes a parent.
            known = (*parents, *rng.sample(near, min(1, len(near))))
            tasks[-1] = replace(tasks[-1], conditions=_random_conditions(rng, name, task, known, never))
    rng.shuffle(tasks)
    handler = TaskDefinition(readable_id="rescue", action=f"{name}:rescue") if rng.random() < 0.5 else None
    return WorkflowDefinition(name=name, tasks=tuple(tasks), on_failure=handler)


def _random_conditions(
    rng: Random, workflow: str, task: str, parents: tuple[str, ...], never: float
) -> Conditions | None:
    found: list[ParentCondition | SleepCondition | EventCondition] = []
    for action in (ConditionAction.SKIP, ConditionAction.CANCEL, ConditionAction.QUEUE):
        for group in range(rng.choice((0, 0, 0, 1, 1, 2))):
            for _ in range(rng.choice((1, 1, 2, 3))):
                stands = rng.choice(("CREATE", "QUEUE")) if action is ConditionAction.QUEUE else action
                key = f"{task}-{len(found)}"
                kind = rng.choice((ParentCondition, ParentCondition, SleepCondition, EventCondition))
                if kind is ParentCondition and parents:
                    expression = rng.choice(tuple(EXPRESSIONS))
                    found.append(ParentCondition(rng.choice(parents), key, ConditionAction(stands), group, expression))
                elif kind is SleepCondition:
                    duration = NEVER_MS if rng.random() < never else 1000 * rng.randint(1, 3)
                    found.append(SleepCondition(duration, key, ConditionAction(stands), group))
                else:
                    found.append(EventCondition(f"{workflow}:{key}", key, ConditionAction(stands), group))
    conditions = Conditions(
        parents=tuple(each for each in found if isinstance(each, ParentCondition)),
        sleeps=tuple(each for each in found if isinstance(each, SleepCondition)),
        events=tuple(each for each in found if isinstance(each, EventCondition)),
    )
    return conditions if found else None


def random_fate(
    rng: Random, task: TaskDefinition, *, failing: float = 0.1, never: float = 0.1, together: bool = True
) -> Fate:
    """What becomes of a task.

    Args:
        rng: All chance.
        task: The task.
        failing: How likely it fails.
        never: How likely each of its events never comes.
        together: Whether a sleep or event may come true in the same moment as another. Sleeps of the same duration do
            in any case.
    """
    conditions = task.conditions or Conditions()
    due: dict[int, list[int]] = {}
    for place, sleep in enumerate(conditions.sleeps):
        if sleep.duration_ms < NEVER_MS:
            due.setdefault(sleep.duration_ms, []).append(place)
    facts = [due[duration] for duration in sorted(due)]
    for place in range(len(conditions.sleeps), len(conditions.sleeps) + len(conditions.events)):
        if rng.random() >= never:
            position = rng.randint(0, len(facts))
            if together and position < len(facts) and rng.random() < 0.3:
                facts[position].append(place)
            else:
                facts.insert(position, [place])
    return Fate(
        status=RunStatus.FAILED if rng.random() < failing else RunStatus.COMPLETED,
        output={"n": rng.randrange(10)},
        facts=tuple(map(tuple, facts)),
    )


def random_fates(
    rng: Random,
    workflow: WorkflowDefinition,
    *,
    failing: float | None = None,
    never: float = 0.1,
    together: bool = True,
) -> dict[str, Fate]:
    """A fate for each task by name, the failure handler included. Without ``failing``, some workflows never fail."""
    likely = rng.choice((0.0, 0.05, 0.3)) if failing is None else failing
    tasks = workflow.tasks if workflow.on_failure is None else (*workflow.tasks, workflow.on_failure)
    return {task.readable_id: random_fate(rng, task, failing=likely, never=never, together=together) for task in tasks}


def expression_holds(expression: str, output: Mapping[str, int]) -> bool:
    """What the condition of a parent with this output says."""
    return EXPRESSIONS[expression](output)
