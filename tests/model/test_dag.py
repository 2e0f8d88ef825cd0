"""Each rule of workflow runs by name, on workflows small enough to follow."""

import pytest

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
from treadle.model.states import TERMINAL, RunStatus

BLOCKED, WAITING, LIVE, COMPLETED, FAILED, CANCELLED, SKIPPED = StepState
CREATE, QUEUE, CANCEL, SKIP = ConditionAction
Condition = ParentCondition | SleepCondition | EventCondition


def task(name: str, *parents: str, when: tuple[Condition, ...] = ()) -> TaskDefinition:
    conditions = Conditions(
        parents=tuple(each for each in when if isinstance(each, ParentCondition)),
        sleeps=tuple(each for each in when if isinstance(each, SleepCondition)),
        events=tuple(each for each in when if isinstance(each, EventCondition)),
    )
    return TaskDefinition(readable_id=name, action=f"t:{name}", parents=parents, conditions=conditions)


def parent(name: str, action: ConditionAction, group: int = 0, says: str = "") -> ParentCondition:
    return ParentCondition(name, name, action, group, says)


def sleep(action: ConditionAction, group: int = 0) -> SleepCondition:
    return SleepCondition(5, "sleep", action, group)


def event(action: ConditionAction, group: int = 0) -> EventCondition:
    return EventCondition("pushed", "pushed", action, group)


def holds(_: int, condition: ParentCondition) -> bool:
    """Expressions in these tests say themselves whether they hold; an empty one does."""
    return condition.expression in ("", "true")


def begun(*tasks: TaskDefinition, on_failure: bool = False) -> Progress:
    workflow = WorkflowDefinition("w", tasks, on_failure=task("rescue") if on_failure else None)
    progress = Progress(Plan(workflow))
    progress.begin(holds)
    return progress


def ended(progress: Progress, **statuses: StepState) -> list[Move]:
    """Let tasks end in this order; the moves of the last of them."""
    moves: list[Move] = []
    for name, status in statuses.items():
        moves = progress.ended(progress.plan.names.index(name), status, holds)
    return moves


def after_a(*when: Condition) -> list[Move]:
    """What becomes of b with these conditions once its parent a has completed."""
    return ended(begun(task("a"), task("b", "a", when=when), task("other")), a=COMPLETED)


def closed(moves: list[Move]) -> list[tuple[int, StepState]]:
    return [(move.step, move.status) for move in moves if isinstance(move, Closed)]


DIAMOND = (task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c"))
SKIPPED_TASK = task("skipped", when=(parent("a", SKIP),))


def test_states_of_ended_steps_are_numbered_as_those_of_runs() -> None:
    assert {state.name: int(state) for state in StepState if state > LIVE} == {
        status.name: int(status) for status in TERMINAL
    }


# Parents


def test_a_diamond_runs_from_top_to_bottom() -> None:
    progress = Progress(Plan(WorkflowDefinition("w", DIAMOND)))
    assert progress.status() is RunStatus.QUEUED
    assert progress.begin(holds) == [Ready(0)]
    assert ended(progress, a=COMPLETED) == [Ready(1), Ready(2)]
    assert ended(progress, c=COMPLETED) == []
    assert progress.status() is RunStatus.RUNNING
    assert ended(progress, b=COMPLETED) == [Ready(3)]
    assert not progress.finished
    assert ended(progress, d=COMPLETED) == [Finished(RunStatus.COMPLETED)]
    assert progress.finished
    assert progress.status() is RunStatus.COMPLETED


def test_a_run_begins_once() -> None:
    progress = begun(*DIAMOND)
    assert progress.begin(holds) == []
    ended(progress, a=FAILED)
    assert progress.begin(holds) == []


@pytest.mark.parametrize(
    ("status", "reason"), [(FAILED, "its parent b failed"), (CANCELLED, "its parent b was cancelled")]
)
def test_a_bad_end_cancels_all_below_at_once(status: StepState, reason: str) -> None:
    progress = begun(*DIAMOND, task("e", "d"))
    ended(progress, a=COMPLETED)
    assert ended(progress, b=status) == [
        Closed(3, CANCELLED, reason),
        Closed(4, CANCELLED, "its parent d was cancelled"),
    ]
    assert ended(progress, c=COMPLETED) == [Finished(RunStatus(status))]


def test_no_condition_overrides_a_bad_end() -> None:
    when = (parent("a", SKIP, 0), parent("a", QUEUE, 1))
    assert closed(ended(begun(task("a"), task("b", when=when)), a=FAILED)) == [(1, CANCELLED)]


def test_a_skip_spreads_where_all_parents_were_skipped() -> None:
    progress = begun(task("a"), SKIPPED_TASK, task("c", "skipped"), task("d", "a", "skipped"), task("e", "d", "c"))
    assert ended(progress, a=COMPLETED) == [
        Closed(1, SKIPPED, "skip_if came true"),
        Closed(2, SKIPPED, "all its parents were skipped"),
        Ready(3),
    ]
    assert ended(progress, d=COMPLETED) == [Ready(4)]


def test_a_step_whose_skip_if_looks_at_parents_is_not_skipped_with_them() -> None:
    looking = task("c", "skipped", when=(parent("skipped", SKIP, says="false"),))
    assert ended(begun(task("a"), SKIPPED_TASK, looking), a=COMPLETED)[-1] == Ready(2)


@pytest.mark.parametrize("condition", [parent("skipped", CANCEL, says="false"), parent("skipped", QUEUE), sleep(SKIP)])
def test_other_conditions_leave_it_skipped(condition: Condition) -> None:
    below = task("c", "skipped", when=(condition,))
    assert closed(ended(begun(task("a"), SKIPPED_TASK, below), a=COMPLETED)) == [(1, SKIPPED), (2, SKIPPED)]


# Conditions


def test_skip_comes_before_cancel_before_queue() -> None:
    every = (parent("a", QUEUE, 2), parent("a", CANCEL, 1), parent("a", SKIP, 0))
    assert after_a(*every) == [Closed(1, SKIPPED, "skip_if came true")]
    assert after_a(*every[:2]) == [Closed(1, CANCELLED, "cancel_if came true")]
    assert after_a(*every[:1]) == [Ready(1)]


def test_all_groups_must_hold_and_one_member_is_enough() -> None:
    half = (parent("a", SKIP, 0, "false"), parent("a", SKIP, 0, "true"))
    assert closed(after_a(*half)) == [(1, SKIPPED)]
    assert after_a(*half, parent("a", SKIP, 1, "false")) == [Ready(1)]


def test_groups_of_different_actions_are_different_groups() -> None:
    assert after_a(parent("a", SKIP, 0, "false"), parent("a", CANCEL, 0, "false"), parent("a", QUEUE, 0)) == [Ready(1)]


def test_create_and_queue_are_one_action() -> None:
    assert after_a(parent("a", CREATE, 0, "true"), parent("a", QUEUE, 0, "false")) == [Ready(1)]


def test_a_step_without_parents_waits_from_the_beginning() -> None:
    progress = Progress(Plan(WorkflowDefinition("w", (task("a", when=(sleep(QUEUE, 0), event(QUEUE, 1))),))))
    assert progress.begin(holds) == [Wait(0, (0, 1))]
    assert progress.status() is RunStatus.QUEUED
    assert progress.met(0, [1], holds) == []
    assert progress.met(0, [0], holds) == [Ready(0)]
    assert progress.met(0, [0], holds) == []


def test_a_satisfied_wait_for_leaves_timed_conditions_no_chance() -> None:
    assert after_a(sleep(CANCEL), event(SKIP)) == [Ready(1)]
    assert after_a(parent("a", QUEUE, 0), sleep(QUEUE, 0), event(CANCEL)) == [Ready(1)]


def test_a_wait_for_that_cannot_come_true_skips() -> None:
    never = parent("a", QUEUE, 0, "false")
    assert after_a(never) == [Closed(1, SKIPPED, "wait_for cannot come true")]
    # Its sleep is of no use, nor is a cancel_if that needs the parent as well.
    other = (sleep(QUEUE, 1), event(CANCEL, 0), parent("a", CANCEL, 1, "false"))
    assert after_a(never, *other) == [Closed(1, SKIPPED, "wait_for cannot come true")]


@pytest.mark.parametrize(("action", "status"), [(SKIP, SKIPPED), (CANCEL, CANCELLED)])
def test_what_can_still_skip_or_cancel_is_waited_for(action: ConditionAction, status: StepState) -> None:
    when = (parent("a", QUEUE, 0, "false"), sleep(QUEUE, 1), event(action))
    progress = begun(task("a"), task("b", when=when))
    assert ended(progress, a=COMPLETED) == [Wait(1, (1,))]
    assert progress.met(1, [0], holds) == []
    assert closed(progress.met(1, [1], holds)) == [(1, status)]


def test_only_what_can_matter_is_registered() -> None:
    satisfied = (parent("a", QUEUE, 0), sleep(QUEUE, 0))
    assert after_a(*satisfied, event(QUEUE, 1)) == [Wait(1, (1,))]


def test_facts_that_come_together_are_judged_together() -> None:
    when = (sleep(QUEUE), event(CANCEL))
    progress = begun(task("a", when=when), task("b", "a"))
    assert progress.met(0, [0, 1], holds) == [
        Closed(0, CANCELLED, "cancel_if came true"),
        Closed(1, CANCELLED, "its parent a was cancelled"),
        Finished(RunStatus.CANCELLED),
    ]
    assert begun(task("a", when=when)).met(0, [0], holds) == [Ready(0)]


def test_facts_about_a_step_that_does_not_wait_are_nothing() -> None:
    progress = begun(task("a", when=(sleep(QUEUE),)), task("b", "a", when=(sleep(QUEUE),)))
    assert progress.met(1, [0], holds) == []
    ended(progress, a=CANCELLED)
    assert progress.met(0, [0], holds) == []


# The failure handler


def test_a_failure_calls_the_handler_once_and_the_run_waits_for_it() -> None:
    progress = begun(task("a"), task("b"), on_failure=True)
    assert ended(progress, a=FAILED) == [Ready(2)]
    assert ended(progress, b=FAILED) == []
    assert ended(progress, rescue=COMPLETED) == [Finished(RunStatus.FAILED)]


def test_a_failing_handler_changes_nothing() -> None:
    progress = begun(task("a"), task("b"), on_failure=True)
    assert ended(progress, a=FAILED, rescue=FAILED) == []
    assert ended(progress, b=COMPLETED) == [Finished(RunStatus.FAILED)]


@pytest.mark.parametrize("status", [COMPLETED, CANCELLED])
def test_without_a_failure_the_handler_never_comes_to_be(status: StepState) -> None:
    progress = begun(task("a"), task("b", "a"), on_failure=True)
    assert ended(progress, a=COMPLETED, b=status) == [Finished(RunStatus(status))]
    assert progress.states[2] == BLOCKED
    assert ended(progress, rescue=CANCELLED) == []
    assert progress.states[2] == BLOCKED


# Cancelling


def test_cancelling_a_run_closes_all_that_has_not_ended() -> None:
    progress = begun(task("a"), task("b", when=(sleep(QUEUE),)), task("c", "b"), task("d"), on_failure=True)
    ended(progress, a=FAILED)
    moves = progress.cancel_all()
    assert moves == [
        *(Closed(step, CANCELLED, "the run was cancelled") for step in (1, 2, 3, 4)),
        Finished(RunStatus.FAILED),
    ]
    assert progress.cancel_all() == []


def test_a_cancelled_run_calls_no_handler() -> None:
    progress = begun(*DIAMOND, on_failure=True)
    assert progress.cancel_all()[-1] == Finished(RunStatus.CANCELLED)
    assert ended(progress, a=FAILED) == []
    assert bytes(progress.states) == bytes([CANCELLED] * 4 + [BLOCKED])


def test_a_step_that_waits_can_be_cancelled_alone() -> None:
    progress = begun(task("a", when=(sleep(QUEUE),)), task("b", "a"), task("c"), task("d", "c"), task("e", "d"))
    assert closed(ended(progress, a=CANCELLED)) == [(1, CANCELLED)]
    assert closed(ended(progress, d=CANCELLED)) == [(4, CANCELLED)]
    assert ended(progress, c=COMPLETED) == [Finished(RunStatus.CANCELLED)]


def test_the_second_report_of_an_end_is_nothing() -> None:
    progress = begun(*DIAMOND)
    ended(progress, a=COMPLETED)
    assert ended(progress, a=FAILED) == []
    assert progress.states[0] == COMPLETED


# Replaying


def test_a_replay_runs_what_failed_and_what_follows() -> None:
    progress = begun(*DIAMOND, on_failure=True)
    ended(progress, a=COMPLETED, b=FAILED, c=COMPLETED, rescue=COMPLETED)
    assert progress.replayable() == {1, 3, 4}
    assert progress.reset(progress.replayable(), holds) == [Ready(1)]
    assert bytes(progress.states) == bytes([COMPLETED, LIVE, COMPLETED, BLOCKED, BLOCKED])
    assert ended(progress, b=FAILED) == [Ready(4), Closed(3, CANCELLED, "its parent b failed")]
    assert ended(progress, rescue=COMPLETED) == [Finished(RunStatus.FAILED)]


def test_a_replay_of_a_completed_run_runs_all_of_it() -> None:
    progress = begun(task("a"), SKIPPED_TASK, on_failure=True)
    ended(progress, a=COMPLETED)
    assert progress.replayable() == {0, 1}
    assert progress.reset({0, 1}, holds) == [Ready(0)]
    assert ended(progress, a=COMPLETED)[-1] == Finished(RunStatus.COMPLETED)


def test_a_replay_after_a_cancel_keeps_what_was_done() -> None:
    progress = begun(*DIAMOND)
    ended(progress, a=COMPLETED)
    progress.cancel_all()
    assert progress.replayable() == {1, 2, 3}
    assert progress.reset({1, 2, 3}, holds) == [Ready(1), Ready(2)]


def test_a_replayed_task_takes_its_descendants_back_whatever_they_do() -> None:
    progress = begun(task("a"), task("b", "a"), task("c", "a", when=(sleep(QUEUE),)), task("d", "b"), task("e"))
    ended(progress, a=COMPLETED, b=COMPLETED)
    assert progress.replayable_from(0) == {0, 1, 2, 3}
    assert progress.reset({0, 1, 2, 3}, holds) == [Ready(0)]
    assert bytes(progress.states) == bytes([LIVE, BLOCKED, BLOCKED, BLOCKED, LIVE])
    assert ended(progress, a=COMPLETED) == [Ready(1), Wait(2, (0,))]


def test_facts_of_the_time_before_a_replay_are_forgotten() -> None:
    progress = begun(task("a", when=(sleep(QUEUE, 0), event(QUEUE, 1))))
    progress.met(0, [0], holds)
    progress.cancel_all()
    assert progress.reset(progress.replayable(), holds) == [Wait(0, (0, 1))]
    assert progress.met(0, [1], holds) == []


def test_the_handler_stays_when_a_failure_does() -> None:
    progress = begun(task("a"), task("b"), on_failure=True)
    ended(progress, a=FAILED, b=FAILED)
    assert progress.replayable_from(0) == {0}
    assert progress.reset({0}, holds) == [Ready(0)]
    assert progress.states[2] == LIVE
    assert ended(progress, rescue=COMPLETED) == []
    # With the last failure, the handler that has run is called off too, to be called again.
    assert progress.replayable_from(1) == {1, 2}
    assert progress.reset({1, 2}, holds) == [Ready(1)]
    assert ended(progress, a=FAILED) == [Ready(2)]


def test_the_handler_can_be_replayed_alone() -> None:
    progress = begun(task("a"), on_failure=True)
    ended(progress, a=FAILED, rescue=FAILED)
    assert progress.replayable_from(1) == {1}
    assert progress.reset({1}, holds) == [Ready(1)]
    assert ended(progress, rescue=COMPLETED) == [Finished(RunStatus.FAILED)]


def test_a_replayed_task_below_a_failure_is_cancelled_again() -> None:
    progress = begun(*DIAMOND)
    ended(progress, a=FAILED)
    assert progress.reset(progress.replayable_from(3), holds) == [
        Closed(3, CANCELLED, "its parent b was cancelled"),
        Finished(RunStatus.FAILED),
    ]


def test_a_replay_of_nothing_is_nothing() -> None:
    progress = begun(task("a"))
    ended(progress, a=COMPLETED)
    assert progress.reset((), holds) == []
    assert progress.finished


# Restoring, and size


def test_a_restored_step_knows_what_it_waits_for() -> None:
    tasks = (task("a"), task("b", when=(parent("a", QUEUE, 0, "false"), sleep(QUEUE, 0), event(QUEUE, 1))))
    progress = Progress.restore(Plan(WorkflowDefinition("w", tasks)), [COMPLETED, WAITING], {1: {0}})
    assert not progress.finished
    assert progress.met(1, [1], holds) == [Ready(1)]
    assert ended(progress, b=COMPLETED) == [Finished(RunStatus.COMPLETED)]


def test_a_run_restored_after_its_end_has_ended() -> None:
    plan = Plan(WorkflowDefinition("w", DIAMOND, on_failure=task("rescue")))
    progress = Progress.restore(plan, [COMPLETED, FAILED, COMPLETED, CANCELLED, COMPLETED], {})
    assert progress.finished
    assert progress.status() is RunStatus.FAILED
    assert progress.cancel_all() == []
    assert not Progress.restore(plan, [COMPLETED, FAILED, COMPLETED, CANCELLED, LIVE], {}).finished


def test_a_chain_of_thousands_is_cancelled_without_recursion() -> None:
    count = 20_000
    progress = begun(task("0"), *(task(str(step), str(step - 1)) for step in range(1, count)))
    moves = progress.ended(0, FAILED, holds)
    assert len(moves) == count
    assert moves[-1] == Finished(RunStatus.FAILED)


def test_an_end_costs_the_same_in_a_run_of_any_size() -> None:
    """If each looked at all steps, this would take minutes."""
    count = 30_000
    progress = begun(*(task(str(step)) for step in range(count)), on_failure=True)
    for step in range(count - 1):
        assert progress.ended(step, COMPLETED, holds) == []
    assert progress.ended(count - 1, COMPLETED, holds) == [Finished(RunStatus.COMPLETED)]
