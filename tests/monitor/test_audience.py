"""Those who wait hear of the end of a run once: pushed when it comes, looked up when it has been."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.engine.harness import OTHER_TENANT, TENANT, Engine, completed, failed
from tests.support.eventually import eventually
from treadle.engine.catalog import TaskKind
from treadle.engine.ports import Ended, Happening
from treadle.model.ids import new_id
from treadle.model.states import RunStatus
from treadle.monitor.audience import RunAudience


class Hearer:
    """Waits, follows, and remembers."""

    def __init__(self) -> None:
        self.heard: list[Ended] = []
        self.missing: list[str] = []
        self.happenings: list[Happening] = []

    def ended(self, ended: Ended) -> None:
        self.heard.append(ended)

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
