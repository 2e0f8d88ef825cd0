"""Doctor: nothing is wrong with a run in any state that it can be in, and each kind of broken row is named."""

import json

import pytest

from tests.engine.flows import DIAMOND, Flow, flow, run_to_the_end, step
from tests.engine.harness import OTHER_TENANT, TENANT, Engine, completed, failed
from treadle.engine import doctor
from treadle.model.definition import ConditionAction, Conditions, EventCondition, ParentCondition, SleepCondition
from treadle.model.ids import new_id
from treadle.model.states import RunStatus
from treadle.testing.doctor import stuck_runs

pytestmark = pytest.mark.breaks_rows
QUEUE, SKIP = ConditionAction.QUEUE, ConditionAction.SKIP


def waits(*, seconds: float = 0, event: str = "", both: bool = False) -> Conditions:
    """A sleep, an event, either of them (or both)."""
    sleeps = (SleepCondition(round(seconds * 1000), "the sleep", QUEUE, 0),) if seconds else ()
    events = (EventCondition(event, "the event", QUEUE, 1 if both else 0),) if event else ()
    return Conditions((), sleeps, events)


async def problems(engine: Engine) -> list[tuple[str, str]]:
    """What is found: the names of tasks, and what is wrong with them."""
    return [(finding.task, finding.problem) for finding in await stuck_runs(engine.url)]


async def broken(engine: Engine, statement: str, *args: object) -> None:
    """Do to the tables what no engine would."""
    assert await engine.fetch(f"{statement} RETURNING 'done'", *args), "nothing was broken"


# -- what is in order ------------------------------------------------------------------------------------------------


async def test_runs_of_one_task_in_every_state(engine: Engine) -> None:
    kind = await engine.workflow(retries=3, backoff_factor=10.0)
    worker = await engine.worker(kind, slots=3)
    await engine.start(kind, 4)
    first, second, _ = worker.take()
    await engine.report(worker, completed=completed([first]), failed=failed([second]))
    [fourth] = worker.take()
    await engine.cancel(fourth[0])
    await engine.start(kind, 9)
    counts = [await engine.count(table) for table in ("queue_item", "attempt", "timer", "task_result")]
    # The slot of the cancelled one is taken until its worker says that it has stopped.
    assert counts == [8, 2, 1, 2]
    assert await problems(engine) == []


async def test_workflow_runs_in_every_state(engine: Engine) -> None:
    either = waits(seconds=60, event="go")
    made = await flow(
        engine,
        step("a", retries=1, backoff_factor=100.0),
        step("sleeps", "a", conditions=waits(seconds=60)),
        step("listens", "a", conditions=waits(event="go")),
        step("either", "a", conditions=either),
        step("both", "a", conditions=waits(seconds=10, event="go", both=True)),
        step("last", "sleeps", "listens"),
        on_failure=step("handler"),
    )
    assert await problems(engine) == []
    run_id = await made.start()
    assert await problems(engine) == []
    await engine.report(made.worker, failed=[made.failure(run_id, "a")])
    assert await problems(engine) == []
    await engine.pass_time(200)
    await made.complete(run_id, "a")
    assert await engine.count("condition") == 6
    assert await problems(engine) == []
    await engine.pass_time(11)
    assert await problems(engine) == []
    await engine.push("go")
    assert await problems(engine) == []
    await made.fail(run_id, "listens")
    assert await problems(engine) == []
    await made.complete(run_id, "either", "both", "handler")
    await engine.pass_time(60)
    await made.complete(run_id, "sleeps")
    assert await made.status(run_id) is RunStatus.FAILED
    assert await problems(engine) == []
    await engine.replay(run_id)
    assert await engine.count("replayed") > 0
    assert await problems(engine) == []
    await engine.cancel(run_id)
    assert await problems(engine) == []


async def test_a_workflow_run_that_another_engine_has_taken_in(engine: Engine) -> None:
    made = await flow(engine, *DIAMOND)
    run_id = await made.start()
    await engine.cancel(run_id)
    await broken(engine, "DELETE FROM treadle.task_result")
    await broken(engine, "DELETE FROM treadle.task WHERE run_id IS NOT NULL")
    await broken(
        engine,
        "INSERT INTO treadle.timer (task_id, tenant_id, due_at, attempt, retries_used, reassigned)"
        " VALUES ($1::text::uuid, $2, now(), 1, 0, 0)",
        run_id,
        TENANT,
    )
    assert await problems(engine) == []


# -- runs of one task ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["queue_item", "attempt", "timer"])
async def test_a_run_that_is_nowhere(engine: Engine, table: str) -> None:
    kind = await engine.workflow(retries=1, backoff_factor=10.0)
    worker = await engine.worker(kind)
    ids = await engine.start(kind, 2)
    lost = ids[1] if table == "queue_item" else ids[0]
    if table == "timer":
        await engine.report(worker, failed=failed(worker.keys))
    await broken(engine, f"DELETE FROM treadle.{table} WHERE task_id = $1::text::uuid", lost)
    assert await stuck_runs(engine.url) == [
        doctor.Finding(
            TENANT, lost, lost, "job", "has not ended, and is neither queued, running, backing off nor waiting for anything"
        )
    ]  # fmt: skip


async def test_an_ended_run_that_still_is_somewhere(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    await engine.start(kind)
    before = await engine.fetch("SELECT a::text AS row FROM treadle.attempt a")
    await engine.report(worker, completed=completed(worker.keys))
    await broken(engine, "INSERT INTO treadle.attempt SELECT ($1::text::treadle.attempt).*", before[0]["row"])
    assert await problems(engine) == [("", "ended as COMPLETED, but still is running")]


async def test_a_run_in_two_places(engine: Engine) -> None:
    kind = await engine.workflow()
    await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await broken(
        engine,
        "INSERT INTO treadle.timer (task_id, tenant_id, due_at, attempt, retries_used, reassigned)"
        " VALUES ($1::text::uuid, $2, now(), 2, 1, 0)",
        task_id,
        TENANT,
    )
    assert await problems(engine) == [("", "is in several places at once: backing off and running")]


async def test_an_attempt_of_no_run_or_no_workflow(engine: Engine) -> None:
    kind = await engine.workflow()
    first, second = await engine.start(kind, 2)
    await broken(engine, "DELETE FROM treadle.task WHERE id = $1::text::uuid", first)
    await broken(engine, "UPDATE treadle.task SET version = 99 WHERE id = $1::text::uuid", second)
    found = {finding.task_id: finding.problem for finding in await stuck_runs(engine.url)}
    assert found == {
        first: "is queued, but its run is not stored",
        second: "is queued, but its workflow is not stored",
    }


async def test_every_tenant_is_looked_at(engine: Engine) -> None:
    for tenant_id in (TENANT, OTHER_TENANT):
        kind = await engine.workflow(tenant_id=tenant_id)
        await engine.start(kind)
    await broken(engine, "DELETE FROM treadle.queue_item")
    assert {finding.tenant_id for finding in await stuck_runs(engine.url)} == {TENANT, OTHER_TENANT}


async def test_findings_have_an_end(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MAX_FINDINGS", 5)
    kind = await engine.workflow()
    await engine.start(kind, 9)
    await broken(engine, "DELETE FROM treadle.queue_item")
    assert len(await problems(engine)) == 5


# -- workflow runs ---------------------------------------------------------------------------------------------------


async def diamond(engine: Engine) -> tuple[Flow, str]:
    """A run of which the first task has been completed."""
    made = await flow(engine, *DIAMOND, on_failure=step("handler"))
    run_id = await made.start()
    await made.complete(run_id, "a")
    return made, run_id


async def test_a_task_that_is_nowhere(engine: Engine) -> None:
    made, run_id = await diamond(engine)
    await broken(engine, "DELETE FROM treadle.attempt WHERE task_id = $1::text::uuid", made.id(run_id, "b"))
    [finding] = await stuck_runs(engine.url)
    assert (finding.run_id, finding.task_id, finding.task) == (run_id, made.id(run_id, "b"), "b")
    assert finding.problem.startswith("has not ended, and is neither queued, running,")


async def test_a_task_that_never_came_to_be(engine: Engine) -> None:
    made, run_id = await diamond(engine)
    for table, column in (("attempt", "task_id"), ("task", "id")):
        await broken(engine, f"DELETE FROM treadle.{table} WHERE {column} = $1::text::uuid", made.id(run_id, "b"))
    assert await problems(engine) == [("b", "has not begun, although all its parents have ended")]


async def test_a_run_that_never_began(engine: Engine) -> None:
    await diamond(engine)
    for table in ("attempt", "task_result"):
        await broken(engine, f"DELETE FROM treadle.{table}")
    await broken(engine, "DELETE FROM treadle.task WHERE run_id IS NOT NULL")
    # What follows from the first task follows from that.
    assert await problems(engine) == [("a", "has not begun, although it waits for no parent")]


async def test_a_task_whose_parent_failed(engine: Engine) -> None:
    made, run_id = await diamond(engine)
    await made.fail(run_id, "b")
    for table, column in (("task_result", "id"), ("task", "id")):
        await broken(engine, f"DELETE FROM treadle.{table} WHERE {column} = $1::text::uuid", made.id(run_id, "d"))
    assert await problems(engine) == [("d", "has not been cancelled, although its parent b did not succeed")]


async def test_a_handler_that_was_not_called(engine: Engine) -> None:
    made, run_id = await diamond(engine)
    await made.fail(run_id, "b")
    for table, column in (("attempt", "task_id"), ("task", "id")):
        await broken(engine, f"DELETE FROM treadle.{table} WHERE {column} = $1::text::uuid", made.id(run_id, "handler"))
    assert await problems(engine) == [("handler", "has not begun, although a task has failed")]


async def test_a_run_that_did_not_end(engine: Engine) -> None:
    made, run_id = await diamond(engine)
    made.delivered()
    await made.complete(run_id, "b", "c")
    made.delivered()
    await made.complete(run_id, "d")
    assert await made.status(run_id) is RunStatus.COMPLETED
    await broken(engine, "DELETE FROM treadle.task_result WHERE id = $1::text::uuid", run_id)
    assert await problems(engine) == [("flow", "has not ended, although all its tasks have")]


async def test_a_task_of_a_run_that_has_ended(engine: Engine) -> None:
    _, run_id = await diamond(engine)
    await broken(
        engine,
        "INSERT INTO treadle.task_result (id, tenant_id, attempt, status, retries_used, finished_at)"
        " VALUES ($1::text::uuid, $2, 1, 3, 0, now())",
        run_id,
        TENANT,
    )
    problem = "is running, but its workflow run has ended"
    assert sorted(await problems(engine)) == [("b", problem), ("c", problem)]


async def test_a_task_of_a_run_that_is_not_stored(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b", conditions=waits(event="go")))
    run_id = await made.start()
    await broken(engine, "DELETE FROM treadle.task WHERE id = $1::text::uuid", run_id)
    assert sorted(await problems(engine)) == [
        ("", "is running, but its workflow run is not stored"),
        ("", "is waiting for sleeps or events, but its workflow run is not stored"),
    ]


async def test_a_run_whose_workflow_is_not_stored(engine: Engine) -> None:
    _, run_id = await diamond(engine)
    await broken(engine, "UPDATE treadle.task SET version = 99 WHERE id = $1::text::uuid", run_id)
    assert await problems(engine) == [("", "has not ended, but its workflow is not stored")]


async def test_a_replayed_task_that_has_come_to_be(engine: Engine) -> None:
    made, run_id = await diamond(engine)
    for name in ("b", "a"):
        await broken(
            engine,
            "INSERT INTO treadle.replayed (task_id, run_id, tenant_id, attempt)"
            " VALUES ($1::text::uuid, $2::text::uuid, $3, 2)",
            made.id(run_id, name),
            run_id,
            TENANT,
        )
    found = await problems(engine)
    assert ("", "is in several places at once: replayed and running") in found
    assert ("", "ended as COMPLETED, but still is replayed") in found


# -- sleeps and events -----------------------------------------------------------------------------------------------


async def test_a_task_that_waits_for_what_has_come(engine: Engine) -> None:
    made = await flow(engine, step("a", conditions=waits(seconds=60)), step("b", conditions=waits(event="go")))
    await made.start()
    await broken(engine, "UPDATE treadle.condition SET met_at = now() WHERE event_key = 'go'")
    assert await problems(engine) == [("b", "still waits, although what it waits for has come")]


async def test_a_task_that_has_lost_one_of_the_things_it_waits_for(engine: Engine) -> None:
    made = await flow(engine, step("a", conditions=waits(seconds=60, event="go", both=True)))
    await made.start()
    await broken(engine, "DELETE FROM treadle.condition WHERE event_key = 'go'")
    assert await problems(engine) == [("a", "waits for the event, but nothing would tell it")]


async def test_a_task_that_has_lost_all_that_it_waits_for(engine: Engine) -> None:
    made = await flow(engine, step("a", conditions=waits(seconds=60, event="go")))
    await made.start()
    await broken(engine, "DELETE FROM treadle.condition")
    assert await problems(engine) == [("a", "has not begun, although it waits for no parent")]


async def test_outputs_of_parents_are_taken_into_account(engine: Engine) -> None:
    """What is registered depends on what the parents returned."""
    judged = Conditions(
        (ParentCondition("a", "a", QUEUE, 0, "output.fast"),),
        (SleepCondition(60_000, "the sleep", QUEUE, 0),),
        (EventCondition("go", "the event", QUEUE, 1), EventCondition("stop", "the end", SKIP, 2)),
    )
    made = await flow(engine, step("a"), step("b", "a", conditions=judged))
    for fast, places in ((True, 2), (False, 3)):
        run_id = await made.start()
        await made.complete(run_id, "a", output=json.dumps({"fast": fast}).encode())
        assert await engine.value("SELECT count(*) FROM treadle.condition WHERE run_id = $1", run_id) == places
    assert await problems(engine) == []
    await broken(engine, "DELETE FROM treadle.condition WHERE due_at IS NOT NULL")
    assert await problems(engine) == [("b", "waits for the sleep, but nothing would tell it")]


async def test_many_runs(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page."""
    monkeypatch.setattr(doctor, "_RUNS_AT_ONCE", 3)
    made = await flow(engine, *DIAMOND)
    runs = [await made.start() for _ in range(10)]
    for run_id in (runs[1], runs[9]):
        for table, column in (("attempt", "task_id"), ("task", "id")):
            await broken(engine, f"DELETE FROM treadle.{table} WHERE {column} = $1::text::uuid", made.id(run_id, "a"))
    assert [finding.run_id for finding in await stuck_runs(engine.url)] == [runs[1], runs[9]]


async def test_nothing_is_changed(engine: Engine) -> None:
    made, run_id = await diamond(engine)
    for table, column in (("attempt", "task_id"), ("task", "id")):
        await broken(engine, f"DELETE FROM treadle.{table} WHERE {column} = $1::text::uuid", made.id(run_id, "b"))
    before = await engine.snapshot()
    await stuck_runs(engine.url)
    assert await engine.snapshot() == before
    assert new_id() not in str(before)
    await run_to_the_end(made, run_id)
