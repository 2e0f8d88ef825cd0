"""Replaying workflow runs and their tasks: what went well stays, what follows from the replayed runs again."""

import json

import pytest

from tests.engine.flows import DIAMOND, Flow, flow, run_to_the_end, step
from tests.engine.harness import OTHER_TENANT, Engine
from tests.engine.test_conditions import event, parent, sleep, when
from treadle.engine.ports import StopReason
from treadle.model.definition import ConditionAction
from treadle.model.states import EventKind, RunStatus

COMPLETED, FAILED, CANCELLED, SKIPPED = RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.SKIPPED


async def nothing_left(engine: Engine) -> None:
    for table in ("attempt", "queue_item", "timer", "condition", "replayed"):
        assert await engine.count(table) == 0, table


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_failed_run_goes_on_from_where_it_failed(engine: Engine, *, restarted: bool) -> None:
    made = await flow(engine, *DIAMOND)
    run_id = await made.start(b'{"n":1}')
    await made.complete(run_id, "a", output=b'{"a":1}')
    await made.fail(run_id, "b")
    await made.complete(run_id, "c", output=b'{"c":1}')
    assert await made.status(run_id) is FAILED
    made.delivered()
    if restarted:
        await made.restart()
    assert await engine.replay(run_id) == [run_id]
    assert await made.status(run_id) is None
    assert made.delivered() == ["b"]
    again = made.got(run_id, "b")
    assert (again.attempt, again.parents, again.input) == (2, {"a": b'{"a":1}'}, b'{"n":1}')
    if restarted:
        await made.restart()
    await made.complete(run_id, "b", output=b'{"b":2}')
    assert made.delivered() == ["d"]
    last = made.got(run_id, "d")
    # It was cancelled as its first attempt, before it ever ran.
    assert (last.attempt, last.parents) == (2, {"b": b'{"b":2}', "c": b'{"c":1}'})
    await made.complete(run_id, "d")
    assert await made.status(run_id) is COMPLETED
    await nothing_left(engine)
    assert [ended.status for ended in engine.audience.ended if ended.task_id == run_id] == [FAILED, COMPLETED]


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_completed_run_runs_all_again(engine: Engine, *, restarted: bool) -> None:
    made = await flow(engine, *DIAMOND)
    run_id = await made.start()
    await run_to_the_end(made, run_id, {"a": b'{"round":1}'})
    if restarted:
        await made.restart()
    assert await engine.replay(run_id) == [run_id]
    assert await engine.count("task") == 5
    assert await engine.count("replayed") == 3
    if restarted:
        await made.restart()
    assert made.delivered() == ["a"]
    await made.complete(run_id, "a", output=b'{"round":2}')
    assert made.got(run_id, "b").parents == {"a": b'{"round":2}'}
    assert await run_to_the_end(made, run_id) == [["b", "c"], ["d"]]
    assert {item.attempt for item in made.worker.got[4:]} == {2}
    assert await made.status(run_id) is COMPLETED
    await nothing_left(engine)


async def test_a_run_that_has_not_ended_is_left_alone(engine: Engine) -> None:
    made = await flow(engine, *DIAMOND)
    run_id = await made.start()
    await made.complete(run_id, "a")
    before = await engine.snapshot()
    assert await engine.replay(run_id, made.id(run_id, "b"), made.id(run_id, "d")) == []
    assert await engine.replay(made.id(run_id, "a"), tenant_id=OTHER_TENANT) == []
    assert await engine.snapshot() == before


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_task_runs_again_with_all_that_follows(engine: Engine, *, restarted: bool) -> None:
    made = await flow(engine, step("a"), step("b", "a"), step("c", "b"), step("x"))
    run_id = await made.start()
    await run_to_the_end(made, run_id)
    if restarted:
        await made.restart()
    assert await engine.replay(made.id(run_id, "b")) == [made.id(run_id, "b")]
    assert await made.status(run_id) is None
    assert await run_to_the_end(made, run_id) == [["b"], ["c"]]
    assert await made.status(run_id) is COMPLETED
    history = await engine.events(made.id(run_id, "c"))
    assert (EventKind.REPLAYED, 2) in history
    assert (EventKind.COMPLETED, 2) in history


@pytest.mark.parametrize("where", ["running", "queued", "backing off", "waiting"])
@pytest.mark.parametrize("restarted", [False, True])
async def test_what_follows_a_replayed_task_is_withdrawn_wherever_it_is(
    engine: Engine, where: str, *, restarted: bool
) -> None:
    action = "flow:nobody" if where == "queued" else "flow:any"
    conditions = when(event("go")) if where == "waiting" else None
    made = await flow(
        engine,
        step("a"),
        step("b", "a", action=action, retries=3, backoff_factor=100.0, conditions=conditions),
        step("c", "b"),
    )
    run_id = await made.start()
    await made.complete(run_id, "a")
    if where == "backing off":
        await engine.report(made.worker, failed=[made.failure(run_id, "b")])
    made.delivered()
    if restarted:
        await made.restart()
    assert await engine.replay(made.id(run_id, "a")) == [made.id(run_id, "a")]
    assert made.delivered() == ["a"]
    assert await made.results(run_id) == {}
    assert await engine.count("attempt") == 1
    assert [await engine.count(table) for table in ("queue_item", "timer", "condition")] == [0, 0, 0]
    stops = [(made.id(run_id, "b"), 1, StopReason.SUPERSEDED)] if where == "running" else []
    assert made.worker.stops == stops
    if where == "running":
        old = await engine.report(made.worker, completed=[_report(made, run_id, "b", 1)])
        assert [entry.reason for entry in old.stale] == [StopReason.SUPERSEDED]
    await made.complete(run_id, "a")
    if where == "queued":
        assert await engine.value("SELECT attempt FROM treadle.queue_item") == 2
        return
    if where == "waiting":
        await engine.push("go", b'{"n":2}')
    again = made.got(run_id, "b")
    # A task that only ever waited has not been an attempt yet; one that backed off had its second number already.
    assert again.attempt == {"running": 2, "backing off": 3, "waiting": 1}[where]
    await made.complete(run_id, "b")
    await made.complete(run_id, "c")
    assert await made.status(run_id) is COMPLETED
    await nothing_left(engine)


def _report(made: Flow, run_id: str, name: str, attempt: int):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a report
    [report] = made.done(run_id, name)
    return report._replace(attempt=attempt)


async def test_the_failure_handler_starts_over_unless_a_failure_stays(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b"), on_failure=step("mend"))
    run_id = await made.start()
    await made.fail(run_id, "a", "b")
    await engine.replay(made.id(run_id, "a"))
    await made.complete(run_id, "mend")
    await made.complete(run_id, "a")
    assert await made.status(run_id) is FAILED
    assert made.delivered() == ["a", "a", "b", "mend"]
    await engine.replay(made.id(run_id, "b"))
    assert await made.results(run_id) == {"a": COMPLETED}
    assert made.delivered() == ["b"]
    await made.complete(run_id, "b")
    assert await made.status(run_id) is COMPLETED
    assert made.delivered() == []


async def test_a_failure_handler_at_work_is_withdrawn_by_a_replay_of_what_failed(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b"), on_failure=step("mend"))
    run_id = await made.start()
    await made.fail(run_id, "a", "b")
    assert made.delivered() == ["a", "b", "mend"]
    tasks = [made.id(run_id, "a"), made.id(run_id, "b")]
    assert sorted(await engine.replay(*tasks)) == sorted(tasks)
    assert made.worker.stops == [(made.id(run_id, "mend"), 1, StopReason.SUPERSEDED)]
    assert made.delivered() == ["a", "b"]
    await made.fail(run_id, "a", error="Boom again")
    assert made.delivered() == ["mend"]
    handed = made.got(run_id, "mend")
    assert (handed.attempt, handed.errors) == (2, {"a": "Boom again"})


async def test_a_failure_handler_can_be_replayed_by_itself(engine: Engine) -> None:
    made = await flow(engine, step("a"), on_failure=step("mend"))
    run_id = await made.start()
    await made.fail(run_id, "a")
    await made.fail(run_id, "mend")
    assert await engine.replay(made.id(run_id, "mend")) == [made.id(run_id, "mend")]
    handed = made.got(run_id, "mend")
    assert (handed.attempt, handed.errors) == (2, {"a": "Boom"})
    await made.complete(run_id, "mend")
    assert await made.status(run_id) is FAILED


async def test_conditions_are_weighed_anew(engine: Engine) -> None:
    skip = ConditionAction.SKIP
    made = await flow(
        engine,
        step("a"),
        step("b", "a", conditions=when(parent("a", "output.skip", skip), sleep(10, group=1), event("go"))),
        step("c", "b"),
    )
    run_id = await made.start()
    await made.complete(run_id, "a", output=b'{"skip":true}')
    assert await made.results(run_id) == {"a": COMPLETED, "b": SKIPPED, "c": SKIPPED}
    await engine.replay(made.id(run_id, "a"))
    await made.complete(run_id, "a", output=b'{"skip":false}')
    await engine.pass_time(9)
    await engine.push("go", b'{"n":1}')
    await engine.pass_time(1)
    assert json.loads(made.got(run_id, "b").triggers or "") == {"go": {"n": 1}, "sleep:10": {}}
    await engine.replay(made.id(run_id, "a"))
    await made.complete(run_id, "a", output=b'{"skip":false}')
    assert await engine.count("condition") == 2
    await made.restart()
    await engine.pass_time(5)
    await engine.push("go", b'{"n":2}')
    await engine.pass_time(5)
    again = made.got(run_id, "b")
    assert (again.attempt, json.loads(again.triggers or "")) == (3, {"go": {"n": 2}, "sleep:10": {}})


async def test_a_cancelled_run_can_be_replayed_and_cancelled_again(engine: Engine) -> None:
    made = await flow(engine, *DIAMOND)
    run_id = await made.start()
    for attempt in (1, 2, 3):
        assert made.got(run_id, "a").attempt == attempt
        assert await engine.cancel(run_id) == [run_id]
        assert await made.status(run_id) is CANCELLED
        assert await engine.replay(run_id) == [run_id]
    assert await run_to_the_end(made, run_id) == [["a", "a", "a", "a"], ["b", "c"], ["d"]]
    assert await made.status(run_id) is COMPLETED
    await nothing_left(engine)


async def test_a_replayed_task_that_waits_for_its_parents_can_be_cancelled(engine: Engine) -> None:
    made = await flow(engine, *DIAMOND)
    run_id = await made.start()
    await run_to_the_end(made, run_id)
    await engine.replay(run_id)
    assert await engine.cancel(made.id(run_id, "b")) == [made.id(run_id, "b")]
    assert await made.results(run_id) == {"b": CANCELLED, "d": CANCELLED}
    await made.complete(run_id, "a")
    await made.complete(run_id, "c")
    assert await made.status(run_id) is CANCELLED
    await nothing_left(engine)


async def test_a_run_and_its_tasks_named_together_are_reset_once(engine: Engine) -> None:
    made = await flow(engine, *DIAMOND)
    plain = await engine.workflow("plain")
    run_id = await made.start()
    [other] = await engine.start(plain)
    await run_to_the_end(made, run_id)
    await engine.cancel(other)
    wanted = [run_id, made.id(run_id, "b"), other, run_id]
    assert sorted(await engine.replay(*wanted)) == sorted(set(wanted))
    assert made.delivered() == ["a"]


async def test_a_replay_of_many_runs_is_one_commit(engine: Engine) -> None:
    made = await flow(engine, *DIAMOND)
    runs = [await made.start() for _ in range(5)]
    await engine.cancel(*runs)
    assert sorted(await engine.replay(*runs)) == sorted(runs)
    for run_id in runs:
        assert made.got(run_id, "a").attempt == 2
