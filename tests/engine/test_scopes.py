"""Scopes that are worked out for each run: an event is meant for one run of many."""

import json

import pytest

from tests.engine.flows import flow, step
from tests.engine.harness import Engine
from tests.engine.test_conditions import SINCE_THE_RUN_BEGAN, event, when
from treadle.engine.workflow import PAYLOAD_KEPT
from treadle.model.states import EventKind


async def test_a_scope_of_each_run_picks_the_run_that_an_event_is_meant_for(engine: Engine) -> None:
    wanted = event("approved", scope="${input.order}")
    made = await flow(engine, step("a"), step("b", "a", conditions=when(wanted)))
    runs = [await made.start(json.dumps({"order": order}).encode()) for order in ("o-1", "o-2", "o-3")]
    for run_id in runs:
        await made.complete(run_id, "a")
    await engine.push("approved", b'{"n":1}', scope="o-2")
    await engine.push("approved", b'{"n":2}')
    assert made.delivered() == ["a", "a", "a", "b"]
    assert made.got(runs[1], "b").triggers == '{"approved":{"n":1}}'


@pytest.mark.parametrize("since", [None, SINCE_THE_RUN_BEGAN])
async def test_a_scope_of_each_run_counts_for_events_of_the_same_commit_and_earlier_ones(
    engine: Engine, since: int | None
) -> None:
    wanted = event("approved", scope="${input.order}", since=since)
    made = await flow(engine, step("a"), step("b", "a", conditions=when(wanted)))
    large = b'{"order":"mine","x":"' + b"y" * 2 * PAYLOAD_KEPT + b'"}'
    run_id = await made.start(large)
    if since is not None:
        await engine.push("approved", b'{"n":0}', scope="other")
        await engine.push("approved", b'{"n":1}', scope="mine")
        await made.complete(run_id, "a")
    else:
        engine.ask_report(made.worker, completed=made.done(run_id, "a"))
        engine.ask_push("approved", b'{"n":0}', scope="other")
        engine.ask_push("approved", b'{"n":1}', scope="mine")
        await engine.settle()
    assert made.got(run_id, "b").triggers == '{"approved":{"n":1}}'


async def test_a_scope_that_cannot_be_worked_out_is_met_by_nothing_and_says_why(engine: Engine) -> None:
    made = await flow(engine, step("a", conditions=when(event("approved", scope="${input.order}"))))
    run_id = await made.start(b"{}")
    await engine.push("approved", b"{}", scope="mine")
    await engine.push("approved", b"{}")
    assert made.delivered() == []
    events = await engine.events(made.id(run_id, "a"))
    assert EventKind.EXPRESSION_FAILED in {kind for kind, *_ in events}
