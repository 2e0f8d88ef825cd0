"""Several engines on one database: each writes for its own tenants, and for nobody once it was superseded."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.engine.harness import OTHER_TENANT, TENANT, Engine, completed, failed
from treadle.bus.direct import DirectIntake
from treadle.engine.commands import Trigger
from treadle.model.errors import Unavailable
from treadle.model.states import RunStatus
from treadle.scheduler.loop import Loop
from treadle.scheduler.seat import Seat
from treadle.scheduler.timers import Timers
from treadle.storage.database import Conn


class Pair(Engine):
    """An engine that owns some tenants, and keeps what it is asked for others."""

    def __init__(self, url: str, *tenant_ids: int) -> None:
        self.tenant_ids = set(tenant_ids)
        self.strays: list[object] = []
        super().__init__(url)

    def _new_loop(self) -> Loop:
        async def take() -> set[int]:
            return set(self.tenant_ids)

        return Loop(
            Seat(self.url),
            take_leases=take,
            inbox=self.inbox,
            catalog=self.catalog,
            audience=self.audience,
            clock=self.clock,
            stray=self.strays.append,
        )

    async def commit_once(self) -> None:
        """As the loop does, with what is not its own put aside."""
        commands = self.inbox.take(1000)
        while True:
            commands = await self.loop._process(self.loop._ours(commands))
            if not commands:
                return

    async def own(self, *tenant_ids: int) -> None:
        """Own exactly these tenants from now on."""
        self.tenant_ids = set(tenant_ids)
        done = asyncio.get_running_loop().create_future()
        await self.loop._change_hands(set(tenant_ids), done)
        await done
        await self.settle()


@pytest.fixture
async def mine(database_url: str) -> AsyncIterator[Pair]:
    engine = Pair(database_url, TENANT)
    await engine.database.open()
    await engine.loop.open()
    yield engine
    await engine.loop.close()
    await engine.database.close()


@pytest.fixture
async def theirs(database_url: str) -> AsyncIterator[Pair]:
    engine = Pair(database_url, OTHER_TENANT)
    await engine.database.open()
    await engine.loop.open()
    yield engine
    await engine.loop.close()
    await engine.database.close()


async def test_each_schedules_its_own_tenant_only(mine: Pair, theirs: Pair) -> None:
    here = await mine.workflow(schedule_timeout_ms=5000)
    there = await theirs.workflow(tenant_id=OTHER_TENANT, schedule_timeout_ms=5000)
    [one], [two] = await mine.start(here), await theirs.start(there)
    await mine.pass_time(5)
    statuses = [await mine.status(one), (await theirs.run(two, tenant_id=OTHER_TENANT)).status]
    assert statuses == [RunStatus.CANCELLED, RunStatus.QUEUED]
    await theirs.pass_time(5)
    assert (await theirs.run(two, tenant_id=OTHER_TENANT)).status is RunStatus.CANCELLED


async def test_backoffs_wake_at_their_owner(mine: Pair, theirs: Pair) -> None:
    here = await mine.workflow(retries=1, backoff_factor=5.0)
    worker = await mine.worker(here)
    [task_id] = await mine.start(here)
    await mine.report(worker, failed=failed([(task_id, 1)]))
    await theirs.pass_time(10)
    assert await mine.count("timer") == 1
    await mine.pass_time(5)
    assert worker.keys == [(task_id, 1), (task_id, 2)]


async def test_commands_for_others_are_put_aside_and_the_rest_is_done(mine: Pair) -> None:
    here = await mine.workflow()
    there = await mine.workflow(tenant_id=OTHER_TENANT)
    kept = mine.ask_trigger([mine.task(here)])
    mine.ask_trigger([mine.task(there)])
    await mine.settle()
    assert isinstance((await kept)[0], str)
    assert len(mine.strays) == 1
    assert await mine.count("task") == 1


async def test_a_tenant_that_changes_hands_takes_its_queue_and_its_attempts_along(mine: Pair, theirs: Pair) -> None:
    kind = await mine.workflow(timeout_ms=60_000)
    worker = await mine.worker(kind)
    running, queued = await mine.start(kind, 2)
    await mine.own()
    assert worker.closed
    await theirs.own(TENANT, OTHER_TENANT)
    again = await theirs.worker(kind, worker_id=worker.worker_id, in_hand={(running, 1)})
    assert again.keys == []
    await theirs.report(again, completed=completed([(running, 1)]))
    assert again.keys == [(queued, 1)]
    assert worker.keys == [(running, 1)]


async def test_a_run_that_is_stored_while_its_tenant_is_taken_over_is_not_overlooked(
    mine: Pair, theirs: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes after the timers were read, and the hint of it before the tenant is owned."""
    kind = await mine.workflow()
    await mine.own()
    run = mine.task(kind)
    load = Timers.load

    async def load_then_store(timers: Timers, conn: Conn) -> None:
        await load(timers, conn)
        await DirectIntake(mine.database, mine.clock)._store([Trigger([run], lambda _ids: None)])
        theirs.loop.arrived(TENANT)

    monkeypatch.setattr(Timers, "load", load_then_store)
    await theirs.own(TENANT)
    worker = await theirs.worker(kind)
    assert worker.keys == [(run.task_id, 1)]


async def test_workers_of_tenants_that_stay_keep_their_streams(mine: Pair) -> None:
    kind = await mine.workflow()
    worker = await mine.worker(kind)
    await mine.own(TENANT, OTHER_TENANT)
    [task_id] = await mine.start(kind)
    assert not worker.closed
    assert worker.keys == [(task_id, 1)]


async def test_a_superseded_engine_commits_nothing_and_starts_over(mine: Pair) -> None:
    kind = await mine.workflow()
    worker = await mine.worker(kind)
    [task_id] = await mine.start(kind)
    before = mine.loop._seat.engine_id
    await mine.fetch("DELETE FROM treadle.engine WHERE id = $1::uuid", before)
    mine.tenant_ids = set()
    answer = mine.ask_report(worker, completed=completed([(task_id, 1)]))
    await mine.settle()
    assert await mine.count("task_result") == 0
    assert mine.loop._seat.engine_id != before
    # Its stream is closed and its report passed on: the worker is another engine's now.
    assert worker.closed
    assert len(mine.strays) == 1
    assert not answer.done()


async def test_a_stray_nobody_takes_is_refused(database_url: str) -> None:
    engine = Engine(database_url)
    await engine.database.open()
    await engine.loop.open()
    kind = await engine.workflow(tenant_id=OTHER_TENANT)
    future = engine.ask_trigger([engine.task(kind)])
    engine.loop._memory.tenant_ids = [TENANT]
    assert engine.loop._ours(engine.inbox.take(10)) == []
    [outcome] = await future
    assert isinstance(outcome, Unavailable)
    await engine.loop.close()
    await engine.database.close()
