"""Workflow runs of several tasks: each task starts when its parents have ended, and is given what they returned."""

import pytest

from tests.engine.flows import DIAMOND, chain, flow, run_to_the_end, step
from tests.engine.harness import Engine
from treadle.engine.workflow import PAYLOAD_KEPT, Workflows
from treadle.model.states import EventKind, RunStatus

COMPLETED, FAILED, CANCELLED = RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED


async def nothing_left(engine: Engine) -> None:
    for table in ("attempt", "queue_item", "timer", "condition", "replayed"):
        assert await engine.count(table) == 0, table


async def test_a_chain_runs_in_order_and_ends_once(engine: Engine) -> None:
    made = await flow(engine, *chain(3))
    run_id = await made.start()
    assert await made.status(run_id) is None
    assert await run_to_the_end(made, run_id) == [["s0"], ["s1"], ["s2"]]
    assert await made.status(run_id) is COMPLETED
    assert await made.results(run_id) == {"s0": COMPLETED, "s1": COMPLETED, "s2": COMPLETED}
    assert [ended.status for ended in engine.audience.ended if ended.task_id == run_id] == [COMPLETED]
    await nothing_left(engine)


async def test_a_diamond_joins_what_its_branches_returned(engine: Engine) -> None:
    made = await flow(engine, *DIAMOND)
    run_id = await made.start(b'{"n":1}')
    assert made.delivered() == ["a"]
    await made.complete(run_id, "a", output=b'{"a":1}')
    assert made.delivered() == ["b", "c"]
    assert made.got(run_id, "b").parents == {"a": b'{"a":1}'}
    await made.complete(run_id, "b", output=b'{"b":2}')
    assert made.delivered() == []
    await made.complete(run_id, "c", output=None)
    last = made.got(run_id, "d")
    assert (last.parents, last.input, last.run_id) == ({"b": b'{"b":2}', "c": b"{}"}, b'{"n":1}', run_id)
    await made.complete(run_id, "d", output=b'{"d":4}')
    assert await made.status(run_id) is COMPLETED


async def test_branches_that_end_in_one_commit_join_once(engine: Engine) -> None:
    made = await flow(engine, *DIAMOND)
    run_id = await made.start()
    await made.complete(run_id, "a")
    made.delivered()
    await made.complete(run_id, "b", "c")
    assert made.delivered() == ["d"]


async def test_tasks_exist_once_they_have_come_to_be(engine: Engine) -> None:
    made = await flow(engine, *DIAMOND)
    run_id = await made.start(metadata='{"k":"v"}', priority=3)
    rows = await engine.fetch("SELECT * FROM treadle.task ORDER BY step")
    assert [row["step"] for row in rows] == [-1, 0]
    run, first = rows
    assert (str(run["id"]), run["run_id"], run["queue_id"], run["input"]) == (run_id, None, 0, b"{}")
    assert (str(first["id"]), str(first["run_id"])) == (made.id(run_id, "a"), run_id)
    assert (first["input"], first["priority"], first["metadata"]) == (b"", 3, '{"k":"v"}')
    assert await engine.count("attempt") == 1


async def test_the_history_of_run_and_tasks(engine: Engine) -> None:
    made = await flow(engine, *chain(2))
    run_id = await made.start()
    await run_to_the_end(made, run_id)
    assert await engine.events(run_id) == [(EventKind.CREATED, 1), (EventKind.COMPLETED, 1)]
    assert await engine.events(made.id(run_id, "s1")) == [
        (EventKind.CREATED, 1),
        (EventKind.ASSIGNED, 1),
        (EventKind.COMPLETED, 1),
    ]


async def test_the_audience_hears_of_tasks_with_their_run(engine: Engine) -> None:
    made = await flow(engine, *chain(2))
    run_id = await made.start()
    await run_to_the_end(made, run_id)
    assert [(e.kind.step, e.run_id) for e in engine.audience.ended] == [(0, run_id), (1, run_id), (-1, None)]


async def test_a_task_is_tried_again_within_its_run(engine: Engine) -> None:
    made = await flow(engine, step("a", retries=2, backoff_factor=2.0), step("b", "a"))
    run_id = await made.start(b'{"n":1}')
    await engine.report(made.worker, failed=[made.failure(run_id, "a")])
    assert await engine.count("timer") == 1
    await engine.pass_time(3)
    again = made.got(run_id, "a")
    assert (again.attempt, again.input, again.run_id) == (2, b'{"n":1}', run_id)
    await made.complete(run_id, "a")
    await made.complete(run_id, "b")
    assert await made.status(run_id) is COMPLETED


async def test_a_failure_cancels_what_comes_after_and_lets_the_rest_go_on(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b", "a"), step("c", "b"), step("x"), step("y", "x"))
    run_id = await made.start()
    await made.fail(run_id, "a", error="Boom: a")
    endings = await made.endings(run_id)
    assert endings["a"][:2] == (FAILED, "Boom: a")
    assert endings["b"][:2] == (CANCELLED, "its parent a failed")
    assert endings["c"][:2] == (CANCELLED, "its parent b was cancelled")
    assert await made.status(run_id) is None
    await made.complete(run_id, "x")
    await made.complete(run_id, "y")
    assert await made.status(run_id) is FAILED
    await nothing_left(engine)


async def test_a_lost_worker_costs_a_task_nothing(engine: Engine) -> None:
    made = await flow(engine, *DIAMOND)
    run_id = await made.start()
    await made.complete(run_id, "a", output=b'{"a":1}')
    await engine.lose(made.worker)
    await made.hire()
    assert [(item.name, item.attempt, item.parents) for item in made.worker.got] == [
        ("b", 2, {"a": b'{"a":1}'}),
        ("c", 2, {"a": b'{"a":1}'}),
    ]


async def test_a_task_that_waits_too_long_for_a_slot_is_cancelled_and_so_is_what_follows(engine: Engine) -> None:
    made = await flow(engine, step("a", schedule_timeout_ms=5000), step("b", "a"), worker=False)
    run_id = await made.start()
    await engine.pass_time(6)
    assert await made.results(run_id) == {"a": CANCELLED, "b": CANCELLED}
    assert await made.status(run_id) is CANCELLED


async def test_large_inputs_and_outputs_are_read_when_they_are_needed(engine: Engine) -> None:
    made = await flow(engine, *DIAMOND)
    payload = b'{"x":"' + b"y" * 5 * PAYLOAD_KEPT + b'"}'
    run_id = await made.start(payload)
    await made.complete(run_id, "a", output=payload)
    for name in ("b", "c"):
        assert made.got(run_id, name).parents == {"a": payload}
        assert made.got(run_id, name).input == payload


@pytest.mark.parametrize("stage", ["queued", "first", "middle", "one branch", "last"])
async def test_another_engine_goes_on_wherever_it_was(engine: Engine, stage: str) -> None:
    made = await flow(engine, *DIAMOND, worker=stage != "queued")
    run_id = await made.start(b'{"n":1}')
    if stage == "queued":
        await made.restart()
        await made.hire()
        stage = "first"
    stages = ["first", "middle", "one branch", "last"]
    moves = {"middle": ["a"], "one branch": ["b"], "last": ["c"]}
    for each in stages:
        for name in moves.get(each, []):
            await made.complete(run_id, name, output=b'{"of":"%s"}' % name.encode())
        if each == stage:
            await made.restart()
    assert made.got(run_id, "d").parents == {"b": b'{"of":"b"}', "c": b'{"of":"c"}'}
    assert made.got(run_id, "d").input == b'{"n":1}'
    await made.complete(run_id, "d")
    assert await made.status(run_id) is COMPLETED
    assert [item.name for item in made.worker.got] == ["a", "b", "c", "d"]
    await nothing_left(engine)


async def test_a_cache_that_holds_nothing_changes_nothing(engine: Engine) -> None:
    made = await flow(engine, *DIAMOND)
    engine.loop.memory.workflows = Workflows(bound=0)
    first, second = await made.start(), await made.start()
    for name in ("a", "b", "c", "d"):
        await engine.report(
            made.worker,
            completed=made.done(first, name, output=b'{"x":1}') + made.done(second, name, output=b'{"y":1}'),
        )
        assert len(engine.loop.memory.workflows) == 0
    assert made.got(second, "d").parents == {"b": b'{"y":1}', "c": b'{"y":1}'}
    assert [await made.status(run_id) for run_id in (first, second)] == [COMPLETED, COMPLETED]


async def test_a_foreign_tenant_has_the_same_names_without_harm(engine: Engine) -> None:
    mine, other = await flow(engine, *chain(2)), await flow(engine, *chain(2), tenant_id=2)
    run_id, foreign = await mine.start(), await other.start()
    await mine.complete(run_id, "s0")
    assert other.delivered() == ["s0"]
    assert await engine.cancel(foreign) == []
    assert await engine.replay(foreign) == []
    assert await other.status(foreign) is None


async def test_a_workflow_of_one_task_is_a_run_of_one_task(engine: Engine) -> None:
    kind = await engine.workflow("plain")
    assert (kind.step, kind.plan) == (0, None)
    [task_id] = await engine.start(kind)
    assert await engine.value("SELECT count(*) FROM treadle.task") == 1
    assert (await engine.run(task_id)).step == 0
