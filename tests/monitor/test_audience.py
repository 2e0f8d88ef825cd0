"""Those who wait hear of the end of a run once: pushed when it comes, looked up when it has been."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from tests.engine.flows import flow, step
from tests.engine.harness import OTHER_TENANT, TENANT, Engine, completed, failed
from tests.support.eventually import eventually
from treadle.engine.catalog import TaskKind
from treadle.engine.ports import Ended, Happening, StepEnd
from treadle.model.ids import new_id
from treadle.model.states import EventKind, RunStatus
from treadle.monitor.audience import RunAudience


class Hearer:
    """Waits, follows, and remembers."""

    def __init__(self, *, wants_steps: bool = True) -> None:
        self.wants_steps = wants_steps
        self.heard: list[Ended] = []
        self.steps: dict[str, Sequence[StepEnd]] = {}
        self.missing: list[str] = []
        self.happenings: list[Happening] = []

    def ended(self, ended: Ended, steps: Sequence[StepEnd] = ()) -> None:
        self.heard.append(ended)
        self.steps[ended.task_id] = steps

    def unknown(self, task_id: str) -> None:
        self.missing.append(task_id)

    def happened(self, happening: Happening) -> None:
        self.happenings.append(happening)

    @property
    def ids(self) -> list[str]:
        return [entry.task_id for entry in self.heard]


@pytest.fixture
async def audience(engine: Engine) -> AsyncIterator[RunAudience]:
    """The real audience in the place of the engine's recording one."""

    def alive(tenant_id: int, task_id: str) -> bool:
        return engine.loop.memory.holds(tenant_id, task_id)

    audience = RunAudience(engine.database, engine.catalog, alive)
    engine.loop._audience = engine.loop._ledger._audience = audience
    looking = asyncio.create_task(audience.run())
    yield audience
    looking.cancel()
    await asyncio.wait({looking})


async def heard(hearer: Hearer, *ids: str) -> None:
    def check() -> None:
        assert sorted(hearer.ids) == sorted(ids)

    await eventually(check)


async def ended_run(engine: Engine, kind: TaskKind) -> str:
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.report(worker, completed=completed([(task_id, 1)], b'"done"'))
    await engine.disconnect(worker)
    return task_id


async def test_the_end_of_a_run_is_pushed_with_its_result(engine: Engine, audience: RunAudience) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, slots=2)
    one, two = await engine.start(kind, 2)
    first, second = Hearer(), Hearer()
    audience.wait_for(TENANT, [one, two], first)
    audience.wait_for(TENANT, [one], second)
    await engine.report(worker, completed=completed([(one, 1)], b"1"), failed=failed([(two, 1)], "no"))
    assert [(entry.status, entry.output, entry.error) for entry in first.heard] == [
        (RunStatus.COMPLETED, b"1", None),
        (RunStatus.FAILED, None, "no"),
    ]
    assert second.ids == [one]


async def test_a_run_that_ended_before_anyone_asked_is_looked_up(engine: Engine, audience: RunAudience) -> None:
    kind = await engine.workflow()
    task_id = await ended_run(engine, kind)
    hearer = Hearer()
    audience.wait_for(TENANT, [task_id, task_id], hearer)
    await heard(hearer, task_id)
    assert (hearer.heard[0].status, hearer.heard[0].output) == (RunStatus.COMPLETED, b'"done"')


async def test_runs_nobody_knows_are_said_to_be_unknown(engine: Engine, audience: RunAudience) -> None:
    kind = await engine.workflow(tenant_id=OTHER_TENANT)
    [foreign] = await engine.start(kind)
    hearer, nobody = Hearer(), new_id()
    audience.wait_for(TENANT, [foreign, nobody], hearer)

    def check() -> None:
        assert sorted(hearer.missing) == sorted([foreign, nobody])

    await eventually(check)
    await engine.cancel(foreign, tenant_id=OTHER_TENANT)
    assert hearer.heard == []


async def test_a_run_that_waits_in_a_table_alone_is_told_of_when_it_ends(engine: Engine, audience: RunAudience) -> None:
    """Backing off or beyond the window: the loop holds no trace of it, and the look-up finds no result."""
    kind = await engine.workflow(retries=1, backoff_factor=10.0)
    worker = await engine.worker(kind)
    [task_id] = await engine.start(kind)
    await engine.report(worker, failed=failed([(task_id, 1)]))
    hearer = Hearer()
    audience.wait_for(TENANT, [task_id], hearer)
    await eventually(lambda: all_looked_up(audience))
    await engine.pass_time(10)
    await engine.report(worker, completed=completed([(task_id, 2)]))
    await heard(hearer, task_id)


def all_looked_up(audience: RunAudience) -> None:
    assert not audience._to_look_up


async def test_who_has_gone_hears_nothing_and_leaves_nothing(engine: Engine, audience: RunAudience) -> None:
    kind = await engine.workflow()
    [task_id] = await engine.start(kind)
    gone, still = Hearer(), Hearer()
    audience.wait_for(TENANT, [task_id], gone)
    audience.wait_for(TENANT, [task_id], still)
    audience.stop_waiting(TENANT, [task_id], gone)
    audience.stop_waiting(TENANT, [task_id], gone)
    await engine.cancel(task_id)
    assert (gone.ids, still.ids) == ([], [task_id])
    assert not audience._waiting


async def test_after_the_database_was_away_everything_is_looked_up(engine: Engine, audience: RunAudience) -> None:
    """An end whose telling was lost with the connection is found in the table."""
    kind = await engine.workflow()
    [task_id] = await engine.start(kind)
    hearer = Hearer()
    audience.wait_for(TENANT, [task_id], hearer)
    await eventually(lambda: all_looked_up(audience))
    conn = await asyncpg.connect(engine.url)
    await conn.execute(
        "INSERT INTO treadle.task_result (id, tenant_id, attempt, status, retries_used, finished_at) "
        "VALUES ($1::uuid, $2, 1, 3, 0, now())",
        task_id,
        TENANT,
    )
    await conn.execute("DELETE FROM treadle.queue_item WHERE task_id = $1::uuid", task_id)
    await conn.close()
    audience.look_again()
    await heard(hearer, task_id)


async def test_look_ups_outlive_a_broken_connection(engine: Engine, audience: RunAudience) -> None:
    kind = await engine.workflow()
    ids = [await ended_run(engine, kind) for _ in range(3)]
    conn = await asyncpg.connect(engine.url)
    await conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'treadle' AND datname = current_database()"
    )
    await conn.close()
    hearer = Hearer()
    audience.wait_for(TENANT, ids, hearer)
    await heard(hearer, *ids)


async def test_thousands_are_looked_up_together(engine: Engine, audience: RunAudience) -> None:
    kind = await engine.workflow()
    ids = [task_id for _ in range(5) for task_id in await engine.start(kind, 1000)]
    await engine.cancel(*ids)
    hearer = Hearer()
    audience.wait_for(TENANT, ids, hearer)
    await heard(hearer, *ids)


async def test_followers_hear_only_of_what_they_follow(engine: Engine, audience: RunAudience) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, slots=2)
    followed, other = await engine.start(kind, 2)
    hearer = Hearer()
    audience.follow(followed, hearer)
    assert audience.followers(followed) == (hearer,)
    await engine.report(worker, completed=completed([(followed, 1), (other, 1)]))
    assert {happening.task_id for happening in hearer.happenings} == {followed}
    audience.unfollow(followed, hearer)
    audience.unfollow(followed, hearer)
    assert followed not in audience.followed


async def test_the_end_of_a_workflow_run_is_told_with_its_tasks(engine: Engine, audience: RunAudience) -> None:
    made = await flow(engine, step("a"), step("b", "a"), on_failure=step("mend"))
    run_id = await made.start()
    whole, bare = Hearer(), Hearer(wants_steps=False)
    audience.wait_for(TENANT, [run_id], whole)
    audience.wait_for(TENANT, [run_id], bare)
    await made.complete(run_id, "a", output=b'{"n":1}')
    assert whole.heard == bare.heard == []
    await made.complete(run_id, "b", output=b'{"n":2}')
    # Who does not want the tasks need not wait until they are read.
    assert bare.ids == [run_id]
    await heard(whole, run_id)
    assert whole.heard[0].status is RunStatus.COMPLETED
    assert [(end.name, end.task_id, end.output) for end in whole.steps[run_id]] == [
        ("a", made.id(run_id, "a"), b'{"n":1}'),
        ("b", made.id(run_id, "b"), b'{"n":2}'),
    ]
    assert not audience._waiting


async def test_workflow_runs_that_ended_before_are_looked_up_with_their_tasks(
    engine: Engine, audience: RunAudience
) -> None:
    made = await flow(engine, step("a"), step("b", "a"), on_failure=step("mend"))
    runs = [await made.start() for _ in range(3)]
    for run_id in runs:
        await made.fail(run_id, "a", error="no")
        await made.complete(run_id, "mend")
    hearer = Hearer()
    audience.wait_for(TENANT, runs, hearer)
    await heard(hearer, *runs)
    for run_id in runs:
        assert [(end.name, end.status) for end in hearer.steps[run_id]] == [
            ("a", RunStatus.FAILED),
            ("b", RunStatus.CANCELLED),
            ("mend", RunStatus.COMPLETED),
        ]


async def test_the_end_of_a_single_task_of_a_workflow_run_is_told_under_its_id(
    engine: Engine, audience: RunAudience
) -> None:
    made = await flow(engine, step("a"), step("b", "a"))
    run_id = await made.start()
    hearer = Hearer()
    audience.wait_for(TENANT, [made.id(run_id, "a")], hearer)
    await made.complete(run_id, "a", output=b"1")
    assert [(entry.task_id, entry.run_id, entry.output) for entry in hearer.heard] == [
        (made.id(run_id, "a"), run_id, b"1")
    ]


async def test_followers_of_a_workflow_run_hear_of_its_tasks(engine: Engine, audience: RunAudience) -> None:
    made = await flow(engine, step("a"), step("b", "a"))
    run_id, other = await made.start(), await made.start()
    of_run, of_task = Hearer(), Hearer()
    audience.follow(run_id, of_run)
    audience.follow(made.id(run_id, "b"), of_task)
    for each in (run_id, other):
        await made.complete(each, "a", output=b'{"n":1}')
        await made.fail(each, "b", error="no")
    a, b = made.id(run_id, "a"), made.id(run_id, "b")
    assert [(each.task_id, each.kind, each.payload) for each in of_run.happenings] == [
        (a, EventKind.COMPLETED, '{"n":1}'),
        (b, EventKind.FAILED, "no"),
    ]
    assert [(each.task_id, each.kind) for each in of_task.happenings] == [(b, EventKind.FAILED)]
