"""Conditions: outputs of parents, sleeps and events decide whether a task starts, waits, is skipped or cancelled."""

import json

import pytest

from tests.engine.flows import flow, run_to_the_end, step
from tests.engine.harness import Engine
from treadle.engine import conditions
from treadle.engine.workflow import PAYLOAD_KEPT, Workflows
from treadle.model.definition import (
    ConditionAction,
    Conditions,
    EventCondition,
    ParentCondition,
    SleepCondition,
)
from treadle.model.states import SKIPPED_OUTPUT, EventKind, RunStatus

QUEUE, SKIP, CANCEL = ConditionAction.QUEUE, ConditionAction.SKIP, ConditionAction.CANCEL
COMPLETED, CANCELLED, SKIPPED = RunStatus.COMPLETED, RunStatus.CANCELLED, RunStatus.SKIPPED
SINCE_THE_RUN_BEGAN = 1


def parent(name: str, expression: str, action: ConditionAction = QUEUE, group: int = 0) -> ParentCondition:
    return ParentCondition(name, name, action, group, expression)


def sleep(seconds: float, action: ConditionAction = QUEUE, group: int = 0) -> SleepCondition:
    return SleepCondition(round(seconds * 1000), f"sleep:{seconds:g}", action, group)


def event(
    key: str,
    expression: str = "",
    action: ConditionAction = QUEUE,
    group: int = 0,
    scope: str | None = None,
    since: int | None = None,
) -> EventCondition:
    return EventCondition(key, key, action, group, expression, scope, since)


def when(*conditions: ParentCondition | SleepCondition | EventCondition) -> Conditions:
    return Conditions(
        tuple(each for each in conditions if isinstance(each, ParentCondition)),
        tuple(each for each in conditions if isinstance(each, SleepCondition)),
        tuple(each for each in conditions if isinstance(each, EventCondition)),
    )


# -- parents ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("total", "delivered"), [(0, ["left"]), (5, ["right"])])
async def test_the_output_of_a_parent_chooses_the_branch(engine: Engine, total: int, delivered: list[str]) -> None:
    made = await flow(
        engine,
        step("a"),
        step("left", "a", conditions=when(parent("a", "output.total > 0", SKIP))),
        step("right", "a", conditions=when(parent("a", "output.total == 0", SKIP))),
        step("join", "left", "right"),
    )
    run_id = await made.start()
    made.delivered()
    await made.complete(run_id, "a", output=json.dumps({"total": total}).encode())
    assert made.delivered() == delivered
    [chosen] = delivered
    [other] = {"left", "right"} - {chosen}
    await made.complete(run_id, chosen, output=b'{"x":1}')
    assert made.got(run_id, "join").parents == {chosen: b'{"x":1}', other: SKIPPED_OUTPUT}
    await made.complete(run_id, "join")
    assert await made.status(run_id) is COMPLETED
    assert (await made.endings(run_id))[other] == (SKIPPED, None, SKIPPED_OUTPUT)
    assert await made.notes(run_id, other) == [EventKind.CREATED, EventKind.SKIPPED]


async def test_all_that_follows_a_skipped_task_alone_is_skipped(engine: Engine) -> None:
    made = await flow(
        engine, step("a"), step("b", "a", conditions=when(parent("a", "true", SKIP))), step("c", "b"), step("d", "c")
    )
    run_id = await made.start()
    await made.complete(run_id, "a")
    assert await made.results(run_id) == {"a": COMPLETED, "b": SKIPPED, "c": SKIPPED, "d": SKIPPED}
    assert await made.status(run_id) is COMPLETED


async def test_expressions_see_input_metadata_and_large_outputs(engine: Engine) -> None:
    wanted = "input.n == 1 && additional_metadata.k == 'v' && size(output.text) > 10 && size(workflow_run_id) == 36"
    made = await flow(
        engine, step("a"), step("b", "a", conditions=when(parent("a", wanted))), step("c", "b"), name="seen"
    )
    large = "x" * 2 * PAYLOAD_KEPT
    payload = json.dumps({"n": 1, "large": large}).encode()
    run_id = await made.start(payload, metadata='{"k":"v"}')
    await made.restart()
    await made.complete(run_id, "a", output=json.dumps({"text": large}).encode())
    assert made.delivered() == ["a", "b"]


async def test_an_expression_that_fails_does_not_hold_and_says_why(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b", "a", conditions=when(parent("a", "output.missing > 1"))))
    run_id = await made.start()
    await made.complete(run_id, "a")
    assert await made.results(run_id) == {"a": COMPLETED, "b": SKIPPED}
    assert EventKind.EXPRESSION_FAILED in await made.notes(run_id, "b")
    [detail] = [
        row["detail"]
        for row in await engine.fetch(
            "SELECT details[1] AS detail FROM treadle.event_log WHERE kind = $1", EventKind.EXPRESSION_FAILED
        )
    ]
    assert detail.startswith("a: ")
    assert "missing" in detail


async def test_cancel_if_cancels_all_that_follows(engine: Engine) -> None:
    made = await flow(
        engine, step("a"), step("b", "a", conditions=when(parent("a", "output.bad", CANCEL))), step("c", "b")
    )
    run_id = await made.start()
    await made.complete(run_id, "a", output=b'{"bad":true}')
    assert await made.results(run_id) == {"a": COMPLETED, "b": CANCELLED, "c": CANCELLED}
    assert await made.status(run_id) is CANCELLED
    assert (await made.endings(run_id))["b"][1] == "cancel_if came true"


# -- sleeps -----------------------------------------------------------------------------------------------------------


async def test_a_sleep_begins_when_the_parents_have_ended(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b", "a", conditions=when(sleep(10))))
    run_id = await made.start()
    await engine.pass_time(20)
    await made.complete(run_id, "a")
    assert await engine.count("condition") == 1
    await engine.pass_time(9)
    assert made.delivered() == ["a"]
    await engine.pass_time(1)
    assert made.delivered() == ["b"]
    assert json.loads(made.got(run_id, "b").triggers or "") == {"sleep:10": {}}
    assert await engine.count("condition") == 0
    assert (await made.notes(run_id, "b"))[:2] == [EventKind.WAITING, EventKind.CONDITION_MET]


async def test_a_sleep_survives_a_restart_and_one_that_ended_meanwhile_is_made_up_for(engine: Engine) -> None:
    made = await flow(
        engine,
        step("a", conditions=when(sleep(10))),
        step("b", conditions=when(sleep(10), sleep(20, group=1))),
    )
    run_id = await made.start()
    await made.restart()
    await engine.pass_time(10)
    assert made.delivered() == ["a"]
    await made.restart()
    engine.clock.advance(15)
    await made.restart()
    assert made.delivered() == ["b"]
    assert json.loads(made.got(run_id, "b").triggers or "") == {"sleep:10": {}, "sleep:20": {}}


async def test_a_sleep_of_no_time_is_over_at_once(engine: Engine) -> None:
    made = await flow(engine, step("a", conditions=when(sleep(0))))
    await made.start()
    assert made.delivered() == ["a"]


async def test_a_deadline_skips_what_waits_for_an_event(engine: Engine) -> None:
    made = await flow(engine, step("a", conditions=when(event("go"), sleep(60, SKIP))), step("b", "a"))
    run_id = await made.start()
    await engine.pass_time(60)
    assert await made.results(run_id) == {"a": SKIPPED, "b": SKIPPED}
    assert await made.status(run_id) is COMPLETED
    await engine.push("go")
    assert made.delivered() == []
    assert await engine.count("condition") == 0


async def test_sleeps_of_a_task_that_end_together_are_weighed_together_however_many_end(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "CHUNK", 1)
    made = await flow(engine, *(step(name, conditions=when(sleep(10), sleep(10, SKIP))) for name in "abc"))
    run_id = await made.start()
    await engine.pass_time(10)
    assert await made.results(run_id) == {"a": SKIPPED, "b": SKIPPED, "c": SKIPPED}


# -- events -----------------------------------------------------------------------------------------------------------


async def test_an_event_starts_what_waits_for_it_and_comes_with_it(engine: Engine) -> None:
    made = await flow(engine, step("a", conditions=when(event("go", "input.n > 1 && event_key == 'go'"))))
    run_id, other = await made.start(), await made.start()
    await engine.push("go", b'{"n":1}')
    await engine.push("other", b'{"n":2}')
    assert made.delivered() == []
    await engine.push("go", b'{"n":2}', metadata='{"who":"me"}')
    assert made.delivered() == ["a", "a"]
    for each in (run_id, other):
        assert json.loads(made.got(each, "a").triggers or "") == {"go": {"n": 2}}
    assert await engine.count("condition") == 0
    assert await engine.count("event") == 3


@pytest.mark.parametrize(("scope", "meets"), [("eu", True), ("us", False), (None, False)])
async def test_a_wanted_scope_must_be_that_of_the_event(engine: Engine, scope: str | None, meets: bool) -> None:
    made = await flow(engine, step("a", conditions=when(event("go", scope="eu"))))
    await made.start()
    await engine.push("go", scope=scope)
    assert made.delivered() == (["a"] if meets else [])


async def test_events_are_the_tenants_own(engine: Engine) -> None:
    made = await flow(engine, step("a", conditions=when(event("go"))))
    await made.start()
    await engine.push("go", tenant_id=2)
    assert made.delivered() == []


async def test_all_groups_must_be_met_and_one_of_each_is_enough(engine: Engine) -> None:
    made = await flow(
        engine,
        step("a", conditions=when(event("x", group=1), event("y", group=1), event("z", group=2), sleep(9, group=1))),
    )
    run_id = await made.start()
    await engine.push("x", b'{"is":"x"}')
    assert made.delivered() == []
    await made.restart()
    await engine.push("x", b'{"is":"a later x"}')
    await engine.push("z", b'{"is":"z"}')
    assert made.delivered() == ["a"]
    assert json.loads(made.got(run_id, "a").triggers or "") == {"x": {"is": "x"}, "z": {"is": "z"}}
    assert await engine.count("condition") == 0


async def test_the_first_of_several_events_counts(engine: Engine) -> None:
    made = await flow(engine, step("a", conditions=when(event("go"))))
    run_id = await made.start()
    engine.ask_push("go", b'{"n":1}')
    engine.ask_push("go", b'{"n":2}')
    await engine.commit_once()
    assert json.loads(made.got(run_id, "a").triggers or "") == {"go": {"n": 1}}


async def test_facts_of_one_commit_are_weighed_together(engine: Engine) -> None:
    """Skip goes before start, whichever of the two was asked for first."""
    made = await flow(engine, step("a", conditions=when(event("go"), event("no", action=SKIP))))
    run_id = await made.start()
    engine.ask_push("go")
    engine.ask_push("no")
    await engine.settle()
    assert await made.results(run_id) == {"a": SKIPPED}


async def test_an_abort_event_cancels_what_sleeps(engine: Engine) -> None:
    made = await flow(engine, step("a", conditions=when(sleep(60), event("abort", action=CANCEL))), step("b", "a"))
    run_id = await made.start()
    await engine.push("abort")
    assert await made.results(run_id) == {"a": CANCELLED, "b": CANCELLED}
    await engine.pass_time(100)
    assert made.delivered() == []


async def test_an_event_in_the_commit_in_which_its_task_begins_to_wait_is_not_lost(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b", "a", conditions=when(event("go"))))
    run_id = await made.start()
    made.delivered()
    engine.ask_push("go", b'{"n":1}')
    engine.ask_report(made.worker, completed=made.done(run_id, "a"))
    await engine.commit_once()
    assert made.delivered() == ["b"]
    assert await engine.count("condition") == 0


async def test_an_event_in_the_commit_in_which_its_run_begins_is_not_lost(engine: Engine) -> None:
    made = await flow(engine, step("a", conditions=when(event("go"))))
    engine.ask_push("go")
    engine.ask_trigger([engine.task(made.kind)])
    await engine.commit_once()
    assert made.delivered() == ["a"]


async def test_a_chain_of_events_in_one_commit_is_followed_to_its_end(engine: Engine) -> None:
    """An event that skips one task lets the next begin to wait, for another event of the same commit."""
    made = await flow(
        engine,
        step("a", conditions=when(event("never"), event("no", action=SKIP))),
        step("b", "a", conditions=when(parent("a", "false", SKIP, 1), event("go"))),
    )
    run_id = await made.start()
    engine.ask_push("go")
    engine.ask_push("no")
    await engine.commit_once()
    assert await made.results(run_id) == {"a": SKIPPED}
    assert made.delivered() == ["b"]


async def test_an_event_from_before_the_task_waits_is_lost_unless_it_looks_back(engine: Engine) -> None:
    made = await flow(
        engine,
        step("a"),
        step("forgetful", "a", conditions=when(event("go"))),
        step("looks", "a", conditions=when(event("go", "input.n > 1", since=SINCE_THE_RUN_BEGAN))),
    )
    await engine.push("go", b'{"n":7}')
    engine.clock.advance(1)
    run_id = await made.start()
    engine.clock.advance(1)
    for n in (1, 2, 3):
        await engine.push("go", json.dumps({"n": n, "large": "x" * 2 * PAYLOAD_KEPT}).encode())
    await made.complete(run_id, "a")
    assert made.delivered() == ["a", "looks"]
    assert json.loads(made.got(run_id, "looks").triggers or "")["go"]["n"] == 2


async def test_looking_back_finds_what_stands_far_back(engine: Engine) -> None:
    made = await flow(
        engine,
        step("a"),
        step("b", "a", conditions=when(event("go", "input.n == 250", since=SINCE_THE_RUN_BEGAN))),
        step("never", "a", conditions=when(event("go", "input.n == 400", since=SINCE_THE_RUN_BEGAN))),
    )
    run_id = await made.start()
    for n in range(300):
        engine.ask_push("go", json.dumps({"n": n}).encode())
    await engine.settle()
    await made.complete(run_id, "a")
    assert made.delivered() == ["a", "b"]


async def test_looking_back_from_a_given_time(engine: Engine) -> None:
    await engine.push("go", b'{"n":1}')
    engine.clock.advance(10)
    since = engine.clock.now()
    await engine.push("go", b'{"n":2}', scope="eu")
    engine.clock.advance(10)
    made = await flow(engine, step("a", conditions=when(event("go", scope="eu", since=round(since * 1_000_000)))))
    run_id = await made.start()
    assert json.loads(made.got(run_id, "a").triggers or "") == {"go": {"n": 2}}


async def test_what_waits_costs_nothing_in_memory(engine: Engine) -> None:
    made = await flow(engine, step("a", conditions=when(event("x"), event("y", group=1), sleep(9, SKIP))))
    engine.loop.memory.workflows = Workflows(bound=0)
    run_id = await made.start()
    await engine.push("x", b'{"is":"x"}')
    assert len(engine.loop.memory.workflows) == 0
    await engine.push("y", b'{"is":"y"}')
    assert json.loads(made.got(run_id, "a").triggers or "") == {"x": {"is": "x"}, "y": {"is": "y"}}


async def test_triggers_come_again_with_each_attempt(engine: Engine) -> None:
    made = await flow(engine, step("a", retries=1, conditions=when(event("go"))))
    run_id = await made.start()
    await engine.push("go", b'{"n":1}')
    await made.restart()
    await engine.report(made.worker, failed=[made.failure(run_id, "a")])
    again = made.got(run_id, "a")
    assert (again.attempt, json.loads(again.triggers or "")) == (2, {"go": {"n": 1}})


async def test_a_failed_parent_cancels_whatever_the_conditions_say(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b", "a", conditions=when(event("go"), parent("a", "true", SKIP, 1))))
    run_id = await made.start()
    await made.fail(run_id, "a")
    assert (await made.results(run_id))["b"] is CANCELLED


async def test_skipped_tasks_run_to_the_end(engine: Engine) -> None:
    made = await flow(
        engine,
        step("a"),
        step("b", "a", conditions=when(parent("a", "true", SKIP))),
        step("c", "a"),
        step("d", "b", "c"),
    )
    run_id = await made.start()
    assert await run_to_the_end(made, run_id) == [["a"], ["c"], ["d"]]
    assert await made.status(run_id) is COMPLETED
