"""Cancelling workflow runs, their tasks, and what they have spawned; and what is done when a task fails."""

import asyncio
import json

import pytest

from tests.engine.flows import DIAMOND, Flow, chain, flow, step
from tests.engine.harness import OTHER_TENANT, TENANT, Engine
from tests.engine.test_conditions import event, sleep, when
from tests.support.eventually import eventually
from treadle.bus.direct import DirectIntake
from treadle.engine.commands import Trigger
from treadle.engine.ports import StopReason
from treadle.intake.trigger import Triggers
from treadle.model.ids import new_id
from treadle.model.states import RunStatus
from treadle.wire.gen.treadle.v1 import runs_pb2
from treadle.wire.serving import Caller

COMPLETED, FAILED, CANCELLED = RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED


async def nothing_left(engine: Engine) -> None:
    for table in ("attempt", "queue_item", "timer", "condition", "replayed"):
        assert await engine.count(table) == 0, table


# -- on_failure -------------------------------------------------------------------------------------------------------


async def test_the_failure_handler_runs_at_once_and_is_told_what_failed(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b"), step("c", "a", "b"), on_failure=step("mend"))
    run_id = await made.start(b'{"n":1}')
    assert made.delivered() == ["a", "b"]
    await made.fail(run_id, "a", error="Boom: a")
    assert made.delivered() == ["mend"]
    handed = made.got(run_id, "mend")
    assert (handed.errors, handed.parents, handed.input) == ({"a": "Boom: a"}, {}, b'{"n":1}')
    await made.complete(run_id, "b")
    assert await made.status(run_id) is None
    await made.complete(run_id, "mend")
    assert await made.status(run_id) is FAILED
    assert await made.results(run_id) == {"a": FAILED, "b": COMPLETED, "c": CANCELLED, "mend": COMPLETED}


async def test_the_failure_handler_is_not_called_when_nothing_fails(engine: Engine) -> None:
    made = await flow(engine, step("a"), on_failure=step("mend"))
    run_id = await made.start()
    await made.complete(run_id, "a")
    assert made.delivered() == ["a"]
    assert await made.status(run_id) is COMPLETED
    assert await made.results(run_id) == {"a": COMPLETED}
    second = await made.start()
    await engine.cancel(made.id(second, "a"))
    assert await made.status(second) is CANCELLED
    assert made.delivered() == ["a"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_the_failure_handler_is_called_once_and_may_fail_itself(engine: Engine, *, restarted: bool) -> None:
    made = await flow(engine, step("a"), step("b"), on_failure=step("mend", retries=1))
    run_id = await made.start()
    await made.fail(run_id, "a")
    if restarted:
        await made.restart()
    await made.fail(run_id, "b", error="Boom: b")
    await engine.report(made.worker, failed=[made.failure(run_id, "mend")])
    again = made.got(run_id, "mend")
    assert (again.attempt, again.errors) == (2, {"a": "Boom", "b": "Boom: b"})
    await made.fail(run_id, "mend")
    assert await made.status(run_id) is FAILED
    assert [item.name for item in made.worker.got] == ["a", "b", "mend", "mend"]
    await nothing_left(engine)


async def test_other_tasks_do_not_get_errors(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b"), step("c", "b"), on_failure=step("mend"))
    run_id = await made.start()
    await made.fail(run_id, "a")
    await made.complete(run_id, "b")
    assert made.got(run_id, "c").errors is None


# -- cancel -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_cancelled_run_ends_wherever_its_tasks_are(engine: Engine, *, restarted: bool) -> None:
    made = await flow(
        engine,
        step("back", retries=3, backoff_factor=100.0),
        step("done"),
        step("runs"),
        step("queued", "done", action="flow:nobody"),
        step("waits", "done", conditions=when(event("go"), sleep(60, group=1))),
        step("blocked", "waits"),
        on_failure=step("mend"),
    )
    run_id = await made.start()
    await engine.report(made.worker, failed=[made.failure(run_id, "back")], completed=made.done(run_id, "done"))
    assert [await engine.count(table) for table in ("timer", "queue_item", "condition", "attempt")] == [1, 1, 2, 1]
    if restarted:
        await made.restart()
    assert await engine.cancel(run_id) == [run_id]
    endings = await made.endings(run_id)
    assert {name: status for name, (status, _, _) in endings.items()} == {
        "back": CANCELLED,
        "done": COMPLETED,
        "runs": CANCELLED,
        "queued": CANCELLED,
        "waits": CANCELLED,
        "blocked": CANCELLED,
    }
    assert await made.status(run_id) is CANCELLED
    assert made.worker.stops == [(made.id(run_id, "runs"), 1, StopReason.CANCELLED)]
    await nothing_left(engine)
    before = await engine.snapshot()
    assert await engine.cancel(run_id, made.id(run_id, "runs"), made.id(run_id, "blocked")) == []
    await engine.pass_time(1000)
    await engine.push("go")
    after = await engine.snapshot()
    del before["event"], after["event"]
    assert after == before


async def test_a_run_with_its_failure_handler_at_work_is_cancelled_and_has_failed(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b"), on_failure=step("mend"))
    run_id = await made.start()
    await made.fail(run_id, "a")
    assert await engine.cancel(run_id) == [run_id]
    assert await made.results(run_id) == {"a": FAILED, "b": CANCELLED, "mend": CANCELLED}
    assert await made.status(run_id) is FAILED
    assert sorted(task_id for task_id, _, _ in made.worker.stops) == sorted(
        [made.id(run_id, "b"), made.id(run_id, "mend")]
    )


async def test_a_cancelled_task_takes_along_what_follows_it_only(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b", "a"), step("x"), step("y", "x"))
    run_id = await made.start()
    task_id = made.id(run_id, "a")
    assert await engine.cancel(task_id) == [task_id]
    assert await made.results(run_id) == {"a": CANCELLED, "b": CANCELLED}
    await made.complete(run_id, "x")
    await made.complete(run_id, "y")
    assert await made.status(run_id) is CANCELLED


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_task_that_waits_for_an_event_can_be_cancelled(engine: Engine, *, restarted: bool) -> None:
    made = await flow(engine, step("a", conditions=when(event("go"))), step("b", "a"))
    run_id = await made.start()
    if restarted:
        await made.restart()
    assert await engine.cancel(made.id(run_id, "a"), tenant_id=OTHER_TENANT) == []
    assert await engine.cancel(made.id(run_id, "a")) == [made.id(run_id, "a")]
    assert await made.results(run_id) == {"a": CANCELLED, "b": CANCELLED}
    assert await made.status(run_id) is CANCELLED
    await nothing_left(engine)


async def test_a_task_that_is_queued_can_be_cancelled(engine: Engine) -> None:
    made = await flow(engine, *chain(2), worker=False)
    run_id = await made.start()
    assert await engine.cancel(made.id(run_id, "s0")) == [made.id(run_id, "s0")]
    assert await made.status(run_id) is CANCELLED
    await made.hire()
    assert made.worker.got == []


async def test_a_run_and_its_task_named_together_end_once(engine: Engine) -> None:
    made = await flow(engine, *DIAMOND)
    run_id = await made.start()
    task_id = made.id(run_id, "a")
    assert sorted(await engine.cancel(task_id, run_id)) == sorted([task_id, run_id])
    assert set((await made.results(run_id)).values()) == {CANCELLED}
    assert await engine.value("SELECT count(*) FROM treadle.task_result") == 5


async def test_reports_of_a_cancelled_run_change_nothing(engine: Engine) -> None:
    made = await flow(engine, *chain(2))
    run_id = await made.start()
    reports = made.done(run_id, "s0")
    await engine.cancel(run_id)
    answered = await engine.report(made.worker, completed=reports)
    assert [entry.reason for entry in answered.stale] == [StopReason.SUPERSEDED]
    assert await made.results(run_id) == {"s0": CANCELLED, "s1": CANCELLED}


# -- children ---------------------------------------------------------------------------------------------------------


async def test_children_are_cancelled_on_demand_and_so_are_theirs(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b", "a"))
    kind = await engine.workflow("plain")
    run_id = await made.start()
    [child] = await engine.trigger(engine.task(kind, parent_id=made.id(run_id, "a"), child_index=0))
    [inner] = await engine.trigger(engine.task(made.kind, parent_id=child, child_index=0))
    [leaf] = await engine.trigger(engine.task(kind, parent_id=made.id(inner, "a"), child_key="k"))
    [stranger] = await engine.start(kind)
    await made.complete(run_id, "a")
    assert sorted(await engine.cancel(run_id, children=True)) == sorted([run_id, child, inner, leaf])
    assert [await made.status(each) for each in (run_id, inner)] == [CANCELLED, CANCELLED]
    assert [await engine.status(each) for each in (child, leaf)] == [CANCELLED, CANCELLED]
    assert await engine.status(stranger) is RunStatus.QUEUED


async def test_children_go_on_unless_that_is_asked_for(engine: Engine) -> None:
    made = await flow(engine, *chain(2))
    kind = await engine.workflow("plain")
    run_id = await made.start()
    [child] = await engine.trigger(engine.task(kind, parent_id=made.id(run_id, "s0"), child_index=0))
    await engine.cancel(run_id)
    assert await engine.status(child) is RunStatus.QUEUED
    assert await engine.cancel(run_id, children=True) == [child]


async def test_children_of_a_run_of_one_task(engine: Engine) -> None:
    kind = await engine.workflow("plain")
    [parent_id] = await engine.start(kind)
    [child] = await engine.trigger(engine.task(kind, parent_id=parent_id, child_index=0))
    assert await engine.cancel(parent_id, children=True) == [parent_id, child]


# -- runs taken in by another engine ----------------------------------------------------------------------------------


async def taken_in(engine: Engine, made: Flow, payload: bytes = b"{}") -> str:
    """A run that an engine which does not own the tenant has stored."""
    answers: list[list[str | BaseException]] = []
    await DirectIntake(engine.database, engine.clock)._store(
        [Trigger([engine.task(made.kind, payload=payload)], answers.append)]
    )
    [[run_id]] = answers
    assert isinstance(run_id, str)
    return run_id


async def test_a_run_that_another_engine_took_in_begins(engine: Engine) -> None:
    made = await flow(engine, *DIAMOND)
    large = b'{"x":"' + b"y" * 50_000 + b'"}'
    run_id = await taken_in(engine, made, large)
    assert made.worker.got == []
    engine.loop.arrived()
    await engine.settle()
    assert made.delivered() == ["a"]
    assert made.got(run_id, "a").input == large
    await made.complete(run_id, "a")
    assert made.delivered() == ["b", "c"]


async def test_a_run_that_another_engine_took_in_can_be_cancelled_before_it_begins(engine: Engine) -> None:
    made = await flow(engine, *DIAMOND, on_failure=step("mend"))
    run_id = await taken_in(engine, made)
    assert await engine.cancel(run_id, new_id()) == [run_id]
    engine.loop.arrived()
    await engine.settle()
    assert made.worker.got == []
    assert await made.status(run_id) is CANCELLED
    assert set((await made.results(run_id)).values()) == {CANCELLED}
    assert await engine.replay(run_id) == [run_id]
    assert made.delivered() == ["a"]


# -- what children are told of their parents --------------------------------------------------------------------------


def assert_asked(engine: Engine) -> None:
    assert not engine.inbox.empty


@pytest.mark.parametrize("where", ["running", "queued", "ended"])
async def test_a_child_knows_the_workflow_run_of_the_task_that_spawned_it(engine: Engine, where: str) -> None:
    made = await flow(engine, *chain(2), worker=where != "queued")
    await engine.workflow("plain")
    run_id = await made.start()
    if where == "ended":
        await made.complete(run_id, "s0")
    spawner = made.id(run_id, "s0")
    triggers = Triggers(
        inbox=engine.inbox,
        catalog=engine.catalog,
        clock=engine.clock,
        max_payload_bytes=1000,
        database=engine.database,
        run_of=engine.loop.memory.run_of,
    )
    wanted = [
        runs_pb2.NewRun(task="plain", parent_task_id=spawner),
        runs_pb2.NewRun(task="flow", parent_task_id=new_id()),
    ]
    starting = asyncio.create_task(triggers.start(runs_pb2.StartRequest(runs=wanted), Caller(TENANT, "", "")))
    await eventually(lambda: assert_asked(engine))
    await engine.settle()
    started, refused = (await starting).outcomes
    assert refused.problem.field == "runs[1].parent_task_id"
    run = await engine.run(started.run_id)
    assert json.loads(run.metadata or "") == {
        "hatchet__parent_workflow_run_id": run_id,
        "hatchet__parent_step_run_id": spawner,
    }
