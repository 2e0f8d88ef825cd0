"""Random histories of workflow runs: after each commit, memory is what the tables say, and every run has a way forward."""

import random

import pytest

from tests.engine.flows import Flow, flow, step
from tests.engine.harness import TENANT, Engine
from tests.engine.test_conditions import CANCEL, SKIP, event, parent, sleep, when
from treadle.engine.commands import Completed, Failed
from treadle.engine.workflow import WorkflowRun, Workflows
from treadle.model.dag import StepState
from treadle.model.ids import step_id
from treadle.storage.database import Conn

STEPS = 40
RUNS = 3

LIVE = """SELECT 1 FROM treadle.queue_item WHERE task_id = $1
          UNION ALL SELECT 1 FROM treadle.attempt WHERE task_id = $1
          UNION ALL SELECT 1 FROM treadle.timer WHERE task_id = $1"""
WAITS = "SELECT 1 FROM treadle.condition WHERE task_id = $1"
OVER = "SELECT 1 FROM treadle.task_result WHERE id = $1"

TASKS = (
    step("a", retries=1, backoff_factor=5.0),
    step("b", conditions=when(event("go"), sleep(20, SKIP))),
    step("c", "a", conditions=when(parent("a", "output.skip", SKIP))),
    step("d", "a", "b"),
    step("e", "c", "d", conditions=when(event("go", group=1), sleep(7, group=2), event("stop", action=CANCEL))),
    step("f", "c", action="flow:nobody"),
    step("g", "e", "f", conditions=when(parent("e", "output.skip", SKIP, 1), parent("f", "true"))),
)


def inside(run: WorkflowRun) -> tuple[list[int], dict[int, int], dict[int, dict[int, str | None]], bool]:
    return list(run.progress.states), run.later, run.met, run.progress.finished


async def load(workflows: Workflows, made: Flow, runs: list[str], conn: Conn) -> dict[str, WorkflowRun]:
    async def connect() -> Conn:
        return conn

    return await workflows.load([(TENANT, run_id) for run_id in runs], made.engine.catalog, connect)


async def check(made: Flow, runs: list[str]) -> None:
    """What is in memory is what would be read, and what has not ended waits for something."""
    engine = made.engine
    async with engine.database.connection() as conn:
        read = await load(Workflows(), made, runs, conn)
    for run_id in runs:
        held = engine.loop.memory.workflows.find(run_id)
        assert held is not None
        assert inside(held) == inside(read[run_id])
        await check_rows(engine, held)


async def check_rows(engine: Engine, run: WorkflowRun) -> None:
    """Each task is in exactly the tables that its state says."""
    ended = await engine.value("SELECT status FROM treadle.task_result WHERE id = $1", run.id)
    assert (ended is not None) == run.progress.finished
    if ended is not None:
        assert ended == run.progress.status()
    alive = False
    for place in range(len(run.plan)):
        task_id = step_id(run.id, place)
        state = StepState(run.state(place))
        live, waits, over = [
            await engine.value(f"SELECT count(*) FROM ({query}) x", task_id) for query in (LIVE, WAITS, OVER)
        ]
        assert (live, waits > 0, over) == (
            state == StepState.LIVE,
            state == StepState.WAITING,
            state >= StepState.COMPLETED,
        ), (place, state)
        alive = alive or live or waits
    assert alive or run.progress.finished


async def act(made: Flow, runs: list[str], chance: random.Random) -> None:
    """Something happens."""
    engine = made.engine
    running = engine.loop.memory.running.of_worker(made.worker.worker_id)
    ids = [*runs, *(step_id(run_id, n) for run_id in runs for n in range(len(made.names)))]
    match chance.randrange(10):
        case 0 | 1 | 2 | 3 if running:
            done = chance.sample(running, min(len(running), chance.randint(1, 3)))
            output = chance.choice([b'{"skip":true}', b'{"skip":false}', b"{}", None])
            await engine.report(
                made.worker, completed=[Completed(item.task_id, item.attempt, output, None) for item in done]
            )
        case 4 if running:
            item = chance.choice(running)
            await engine.report(
                made.worker, failed=[Failed(item.task_id, item.attempt, "Boom", chance.random() < 0.5, None, None)]
            )
        case 5:
            await engine.push(chance.choice(["go", "go", "stop"]), b'{"n":1}')
        case 6:
            await engine.pass_time(chance.choice([1, 4, 8, 25]))
        case 7:
            await engine.cancel(*chance.sample(ids, chance.choice([1, 1, 2])))
        case 8:
            await engine.replay(*chance.sample(ids, chance.choice([1, 2, 3])))
        case 9:
            await made.restart()
            # Everything is in memory again, so that it can be compared.
            await load(engine.loop.memory.workflows, made, runs, engine.loop._seat.conn)
        case _:
            await engine.pass_time(2)


@pytest.mark.parametrize("seed", range(8))
async def test_memory_is_what_the_tables_say(engine: Engine, seed: int) -> None:
    chance = random.Random(seed)
    made = await flow(engine, *TASKS, on_failure=step("mend", retries=1))
    runs = [await made.start() for _ in range(RUNS)]
    await check(made, runs)
    for _ in range(STEPS):
        await act(made, runs, chance)
        await check(made, runs)
