"""What is prepared while the commit before it is being written is as complete as anything else."""

import asyncio
import random

from tests.engine.flows import DIAMOND, flow, step
from tests.engine.harness import Engine, completed
from tests.engine.test_conditions import event, when
from tests.support.eventually import eventually
from treadle.engine.workflow import PAYLOAD_KEPT, Workflows
from treadle.model.states import RunStatus

RACES = 1000
COMMITS = 0.3
"""How often a commit is begun after something was asked for."""
LARGE = b'{"x":"' + b"y" * 5 * PAYLOAD_KEPT + b'"}'


async def begin(engine: Engine) -> None:
    """Prepare what was asked for, and let it be written while the next is prepared."""
    assert await engine.loop._carry_out(engine.inbox.take(4000)) == []


async def test_a_large_input_is_there_when_its_attempt_is_assigned_while_it_is_still_being_queued(
    engine: Engine,
) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    await engine.start(kind)
    [first] = worker.take()
    engine.ask_trigger([engine.task(kind, payload=LARGE)])
    await begin(engine)
    engine.ask_report(worker, completed=completed([first]))
    await begin(engine)
    await engine.settle()
    assert worker.got[-1].input == LARGE


async def test_the_input_of_a_task_of_a_workflow_run_as_well(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b", "a"), slots=1)
    first = await made.start()
    engine.ask_trigger([engine.task(made.kind, payload=LARGE)])
    await begin(engine)
    engine.ask_report(made.worker, completed=made.done(first, "a"))
    await begin(engine)
    await engine.settle()
    assert made.worker.got[-1].input == LARGE


async def test_steps_that_end_one_after_the_other_while_commits_are_written(engine: Engine) -> None:
    """With a memory that holds no run, so that each step is worked out from what the commit before has written."""
    made = await flow(engine, *DIAMOND)
    other = await engine.workflow("other")
    engine.loop.memory.workflows = Workflows(bound=0)
    runs = [await made.start() for _ in range(3)]
    for name in DIAMOND:
        for run_id in runs:
            engine.ask_report(made.worker, completed=made.done(run_id, name.readable_id, output=LARGE))
            # Something that is queued makes the commit a long one.
            engine.ask_trigger([engine.task(other)])
            await begin(engine)
        await engine.settle()
    assert [await made.status(run_id) for run_id in runs] == [RunStatus.COMPLETED] * 3
    for run_id in runs:
        assert made.got(run_id, "d").parents == {"b": LARGE, "c": LARGE}


async def test_an_event_that_overlaps_with_the_commit_in_which_its_task_begins_to_wait(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b", "a", conditions=when(event("go"))))
    other = await engine.workflow("other")
    run_id = await made.start()
    engine.ask_report(made.worker, completed=made.done(run_id, "a"))
    engine.ask_trigger([engine.task(other)])
    await begin(engine)
    pushed = engine.ask_push("go", b'{"n":1}')
    await begin(engine)
    await engine.settle()
    assert len(await asyncio.wait_for(pushed, 5)) == 1
    assert made.got(run_id, "b").triggers == '{"go":{"n":1}}'


async def test_an_event_is_never_lost_though_it_races_with_the_commit_in_which_its_task_begins_to_wait(
    engine: Engine,
) -> None:
    """A thousand times, each run with an event of its own: before, in and after that commit, and while it is written."""
    chance = random.Random(RACES)
    waits = when(event("go", scope="${input.n}", since=0))
    made = await flow(engine, step("a"), step("b", "a", conditions=waits), slots=2 * RACES)
    inputs = [b'{"n":"%d"}' % n for n in range(RACES)]
    runs = [str(run_id) for run_id in await engine.trigger(*(engine.task(made.kind, payload=text) for text in inputs))]
    asked = [(n, kind) for n in range(RACES) for kind in ("ends", "push")]
    # Both of a run come close together, in either order.
    asked.sort(key=lambda entry: entry[0] + chance.uniform(0, 4))
    pushed = []
    for n, kind in asked:
        if kind == "ends":
            engine.ask_report(made.worker, completed=made.done(runs[n], "a"))
        else:
            pushed.append(engine.ask_push("go", b'{"n":%d}' % n, scope=str(n)))
        if chance.random() < COMMITS:
            await begin(engine)
    await engine.settle()
    assert all(future.done() for future in pushed)
    got = {item.run_id: item.triggers for item in made.worker.got if item.name == "b"}
    assert got == {run_id: f'{{"go":{{"n":{n}}}}}' for n, run_id in enumerate(runs)}


async def test_a_commit_that_fails_takes_the_one_prepared_after_it_along_and_both_are_made_up_for(
    engine: Engine,
) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, slots=60)
    [old] = await engine.start(kind)
    first = engine.ask_trigger([engine.task(kind) for _ in range(40)])
    async with engine.database.transaction() as conn:
        await conn.execute("LOCK TABLE treadle.event_log IN EXCLUSIVE MODE")
        await begin(engine)

        async def written_half() -> None:
            assert await engine.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == 1

        await eventually(written_half)
        await engine.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'treadle scheduler' AND datname = current_database()"
        )
        second = engine.ask_trigger([engine.task(kind) for _ in range(5)])
        report = engine.ask_report(worker, completed=completed([(old, 1)], b'"done"'))
        again = await engine.loop._carry_out(engine.inbox.take(4000))
    assert [len(commands) for commands in again] == [1, 2]
    assert not first.done()
    for commands in again:
        assert await engine.loop._process(commands) == []
    ids = [str(task_id) for task_id in (*await first, *await second)]
    assert (await report).settled == [(old, 1)]
    assert sorted(worker.keys) == sorted((task_id, 1) for task_id in (old, *ids))
    assert await engine.count("task") == 46
    assert await engine.count("attempt") == 45
    assert await engine.count("task_result") == 1
