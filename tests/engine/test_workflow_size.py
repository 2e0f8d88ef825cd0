"""Large workflows: work grows with tasks and edges, statements do not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.engine.flows import DIAMOND, Flow, chain, flow, step
from tests.engine.harness import Engine
from tests.engine.test_conditions import SKIP, parent, when
from treadle.engine.commands import Completed
from treadle.model.states import RunStatus
from treadle.storage import workflow as workflow_rows

# Less than is assigned in one commit.
MANY = 1900


@asynccontextmanager
async def counted(engine: Engine) -> AsyncIterator[list[str]]:
    """The statements of the commits within."""
    seen: list[str] = []
    conn: Any = engine.loop._seat.conn
    with conn.query_logger(lambda record: seen.append(record.query)):
        yield seen
        # The driver tells of a statement a moment later.
        await asyncio.sleep(0)


async def wide(engine: Engine, middle: int, name: str) -> Flow:
    """One task, many that follow it, and one that joins them."""
    names = [f"m{n}" for n in range(middle)]
    return await flow(
        engine,
        step("first"),
        *(step(each, "first") for each in names),
        step("last", *names),
        name=name,
        slots=middle + 1,
    )


async def complete_all(made: Flow, run_id: str, names: Sequence[str]) -> None:
    latest = {item.name: item.attempt for item in made.worker.got}
    await made.engine.report(
        made.worker, completed=[Completed(made.id(run_id, name), latest[name], b"{}", None) for name in names]
    )


async def test_the_number_of_statements_does_not_depend_on_the_number_of_tasks(engine: Engine) -> None:
    # Positions are reserved with the first start.
    await engine.start(await engine.workflow("other"))
    counts = []
    for middle in (100, MANY):
        made = await wide(engine, middle, f"wide{middle}")
        async with counted(engine) as seen:
            run_id = await made.start()
            await made.complete(run_id, "first")
            await complete_all(made, run_id, [f"m{n}" for n in range(middle)])
            assert len(made.got(run_id, "last").parents or ()) == middle
            await made.complete(run_id, "last")
        assert await made.status(run_id) is RunStatus.COMPLETED
        await engine.disconnect(made.worker)
        counts.append([name.split()[0] for name in names_of(seen)])
    assert counts[0] == counts[1]


async def test_a_run_in_memory_is_not_read_and_one_that_is_not_is_read_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    load_steps = workflow_rows.load_steps

    async def load(*args: Any, ids: Sequence[str], **kwargs: Any) -> list[workflow_rows.StepColumns]:
        asked.append(len(ids))
        return await load_steps(*args, ids=ids, **kwargs)

    monkeypatch.setattr(workflow_rows, "load_steps", load)
    made = await wide(engine, 200, "wide")
    run_id = await made.start()
    await made.complete(run_id, "first")
    for n in range(20):
        await complete_all(made, run_id, [f"m{n}"])
    assert asked == []
    await made.restart()
    for n in range(20, 200):
        await complete_all(made, run_id, [f"m{n}"])
    assert asked == [202]
    assert made.got(run_id, "last").name == "last"


async def test_what_follows_a_failure_is_cancelled_in_one_commit_however_long_it_is(engine: Engine) -> None:
    made = await flow(engine, *chain(MANY))
    run_id = await made.start()
    async with counted(engine) as seen:
        await made.fail(run_id, "s0")
    assert len(seen) < 30
    assert await engine.value("SELECT count(*) FROM treadle.task_result WHERE status = 5") == MANY - 1
    assert await made.status(run_id) is RunStatus.FAILED


def names_of(seen: Sequence[str]) -> list[str]:
    """Statements by their names."""
    return [query.split(" ")[1] if query.startswith("/*") else query for query in seen]


async def test_a_run_of_one_task_costs_two_statements(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    await engine.start(kind)
    await engine.report(worker, completed=[Completed(*key, None, None) for key in worker.take()])
    async with counted(engine) as seen:
        await engine.start(kind)
        await engine.report(worker, completed=[Completed(*key, None, None) for key in worker.take()])
    assert names_of(seen) == ["at_once.write_at_once"] * 2


async def test_a_small_step_of_a_workflow_run_costs_one_statement(engine: Engine) -> None:
    made = await flow(engine, *DIAMOND, step("e", "d", conditions=when(parent("d", "output.skip", SKIP))))
    # The first commit looks around as well, and the first of one statement has the driver ask for its types.
    for _ in range(2):
        await made.start()
    async with counted(engine) as seen:
        run_id = await made.start()
        for name in ("a", "b", "c", "d"):
            await made.complete(run_id, name, output=b'{"skip":true}')
    assert await made.status(run_id) is RunStatus.COMPLETED
    assert names_of(seen) == ["at_once.write_at_once"] * 5
