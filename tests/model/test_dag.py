"""Each rule of workflow runs by name, on workflows small enough to follow."""

from treadle.model.dag import Closed, Finished, Move, Plan, Progress, Ready, StepState, Wait
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

BLOCKED, WAITING, LIVE, COMPLETED, FAILED, CANCELLED, SKIPPED = StepState
SKIP, CANCEL, QUEUE, CREATE = (
    ConditionAction.SKIP,
    ConditionAction.CANCEL,
    ConditionAction.QUEUE,
    ConditionAction.CREATE,
)


def task(name: str, *parents: str, conditions: Conditions | None = None) -> TaskDefinition:
    return TaskDefinition(readable_id=name, action=f"t:{name}", parents=parents, conditions=conditions)


def plan(*tasks: TaskDefinition, on_failure: bool = False) -> Plan:
    return Plan(WorkflowDefinition("w", tasks, on_failure=task("rescue") if on_failure else None))


def parent(name: str, action: ConditionAction, group: int = 0, expression: str = "") -> ParentCondition:
    return ParentCondition(name, name, action, group, expression)


def sleep(action: ConditionAction, group: int = 0) -> SleepCondition:
    return SleepCondition(5, "sleep", action, group)


def event(action: ConditionAction, group: int = 0) -> EventCondition:
    return EventCondition("pushed", "pushed", action, group)


def when(*conditions: ParentCondition | SleepCondition | EventCondition) -> Conditions:
    return Conditions(
        parents=tuple(each for each in conditions if isinstance(each, ParentCondition)),
        sleeps=tuple(each for each in conditions if isinstance(each, SleepCondition)),
        events=tuple(each for each in conditions if isinstance(each, EventCondition)),
    )


def holds(_: int, condition: ParentCondition) -> bool:
    """Expressions in these tests say themselves whether they hold; an empty one does."""
    return condition.expression in ("", "true")


def closed(moves: list[Move]) -> list[tuple[int, StepState]]:
    return [(move.step, move.status) for move in moves if isinstance(move, Closed)]


DIAMOND = (task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c"))


def test_a_diamond_runs_from_top_to_bottom() -> None:
    progress = Progress(plan(*DIAMOND))
    assert progress.status() is RunStatus.QUEUED
    assert progress.begin(holds) == [Ready(0)]
    assert progress.ended(0, COMPLETED, holds) == [Ready(1), Ready(2)]
    assert progress.ended(2, COMPLETED, holds) == []
    assert progress.status() is RunStatus.RUNNING
    assert progress.ended(1, COMPLETED, holds) == [Ready(3)]
    assert progress.ended(3, COMPLETED, holds) == [Finished(RunStatus.COMPLETED)]
    assert progress.finished


def test_a_failed_parent_cancels_all_below_it_at_once() -> None:
    progress = Progress(plan(*DIAMOND))
    progress.begin(holds)
    progress.ended(0, COMPLETED, holds)
    moves = progress.ended(1, FAILED, holds)
    assert moves == [Closed(3, CANCELLED, "its parent b failed")]
    assert progress.ended(2, COMPLETED, holds) == [Finished(RunStatus.FAILED)]


def test_all_parents_skipped_skip_a_step_and_one_that_ran_does_not() -> None:
    skipped = when(parent("a", SKIP))
    tasks = (task("a"), task("b", conditions=skipped), task("c", "b"), task("d", "a", "b"), task("e", "d", "c"))
    progress = Progress(plan(*tasks))
    assert progress.begin(holds) == [Ready(0)]
    moves = progress.ended(0, COMPLETED, holds)
    assert closed(moves) == [(1, SKIPPED), (2, SKIPPED)]
    assert moves[-1] == Ready(3)


def test_skip_comes_before_cancel_before_queue() -> None:
    every = (parent("a", SKIP, 0), parent("a", CANCEL, 1), parent("a", QUEUE, 2))
    for conditions, expected in ((every, SKIPPED), (every[1:], CANCELLED)):
        progress = Progress(plan(task("a"), task("b", conditions=when(*conditions))))
        progress.begin(holds)
        assert closed(progress.ended(0, COMPLETED, holds)) == [(1, expected)]


def test_a_step_waits_for_a_sleep_and_an_event() -> None:
    progress = Progress(plan(task("a", conditions=when(sleep(QUEUE, 0), event(CREATE, 1)))))
    assert progress.begin(holds) == [Wait(0, (0, 1))]
    assert progress.met(0, [1], holds) == []
    assert progress.met(0, [0], holds) == [Ready(0)]


def test_a_failure_calls_the_handler_once_and_the_run_waits_for_it() -> None:
    progress = Progress(plan(task("a"), task("b"), on_failure=True))
    progress.begin(holds)
    assert progress.ended(0, FAILED, holds) == [Ready(2)]
    assert progress.ended(1, FAILED, holds) == []
    assert progress.ended(2, COMPLETED, holds) == [Finished(RunStatus.FAILED)]


def test_a_replay_runs_what_failed_and_what_follows() -> None:
    progress = Progress(plan(*DIAMOND))
    progress.begin(holds)
    for step, status in ((0, COMPLETED), (1, FAILED), (2, COMPLETED)):
        progress.ended(step, status, holds)
    assert progress.replayable() == {1, 3}
    assert progress.reset(progress.replayable(), holds) == [Ready(1)]
    assert progress.ended(1, COMPLETED, holds) == [Ready(3)]
    assert progress.ended(3, COMPLETED, holds) == [Finished(RunStatus.COMPLETED)]


def test_a_chain_of_thousands_is_cancelled_without_recursion() -> None:
    count = 20_000
    progress = Progress(plan(task("0"), *(task(str(step), str(step - 1)) for step in range(1, count))))
    progress.begin(holds)
    moves = progress.ended(0, FAILED, holds)
    assert len(moves) == count
    assert moves[-1] == Finished(RunStatus.FAILED)
