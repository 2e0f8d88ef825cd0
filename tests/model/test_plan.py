from treadle.model.definition import (
    ConditionAction,
    Conditions,
    EventCondition,
    ParentCondition,
    SleepCondition,
    TaskDefinition,
    WorkflowDefinition,
)
from treadle.model.plan import Alternatives, Plan


def task(name: str, *parents: str, conditions: Conditions | None = None) -> TaskDefinition:
    return TaskDefinition(readable_id=name, action=f"t:{name}", parents=parents, conditions=conditions)


def test_steps_are_tasks_in_their_order_with_the_failure_handler_last() -> None:
    plan = Plan(WorkflowDefinition("w", (task("b", "a"), task("a")), on_failure=task("rescue")))
    assert plan.names == ("b", "a", "rescue")
    assert [each.readable_id for each in plan.tasks] == ["b", "a", "rescue"]
    assert plan.on_failure == 2
    assert len(plan) == 3
    assert plan.parents == ((1,), (), ())
    assert plan.children == ((), (0,), ())
    assert plan.demands == (None, None, None)
    assert plan.timed(2) == ()


def test_a_parent_named_by_a_condition_only_is_a_parent_and_each_counts_once() -> None:
    conditions = Conditions(
        parents=tuple(
            ParentCondition(name, f"{name}{number}", ConditionAction.SKIP, number) for number, name in enumerate("cac")
        )
    )
    plan = Plan(WorkflowDefinition("w", (task("a"), task("b", "a", conditions=conditions), task("c"))))
    assert plan.parents[1] == (0, 2)
    assert plan.children == ((1,), (), (1,))


def test_descendants_are_all_below_without_the_given() -> None:
    plan = Plan(WorkflowDefinition("w", (task("a"), task("b", "a"), task("c", "b", "a"), task("d"), task("e", "d"))))
    assert plan.descendants({0}) == {1, 2}
    assert plan.descendants((1, 0)) == {2}
    assert plan.descendants([3, 2]) == {4}
    assert plan.descendants(()) == set()


def test_descendants_of_a_long_chain() -> None:
    count = 20_000
    tasks = (task("0"), *(task(str(step), str(step - 1)) for step in range(1, count)))
    assert len(Plan(WorkflowDefinition("w", tasks)).descendants((0,))) == count - 1


def test_groups_belong_to_an_action_and_create_is_queue() -> None:
    parent = ParentCondition("a", "a", ConditionAction.QUEUE, 0)
    sleep = SleepCondition(5, "sleep", ConditionAction.CREATE, 0)
    skip = SleepCondition(6, "deadline", ConditionAction.SKIP, 0)
    event = EventCondition("pushed", "pushed", ConditionAction.CANCEL, 7)
    conditions = Conditions(parents=(parent,), sleeps=(sleep, skip), events=(event,))
    plan = Plan(WorkflowDefinition("w", (task("a"), task("b", conditions=conditions))))
    assert plan.timed(1) == (sleep, skip, event)
    demands = plan.demands[1]
    assert demands is not None
    assert demands.skip == (Alternatives((), (1,)),)
    assert demands.cancel == (Alternatives((), (2,)),)
    assert demands.queue == (Alternatives((parent,), (0,)),)
    assert not demands.judges_skips
