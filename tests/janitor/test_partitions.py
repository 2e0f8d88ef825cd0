"""Partitions come in time, go once nobody needs them, and keep nobody waiting. The day is whatever a test says it is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest
from structlog.testing import capture_logs

from treadle.janitor.partitions import Partitions
from treadle.model.ids import id_at, new_id
from treadle.runtime.clock import VirtualClock
from treadle.storage import retention
from treadle.storage.database import Database
from treadle.storage.partitions import BY_ID, BY_TIME, DAYS_AHEAD, ensure_partitions, partition_name
from treadle.storage.retention import Swept, day_partitions, drop_old_partitions, missing_partitions

TABLES = (*BY_ID, *BY_TIME)
OF_RUNS = tuple(table for table in BY_ID if table != "event")
TODAY = date(2031, 3, 1)  # the day before is the last of a short February
OLD = date(2031, 1, 10)
TENANT = 7
OTHER = 9

Conn = asyncpg.Connection


@pytest.fixture
async def conn(database_url: str) -> AsyncIterator[Conn]:
    """A database with two tenants, and partitions around OLD and TODAY only."""
    async with AsyncExitStack() as stack:
        conn = await asyncpg.connect(database_url)
        stack.push_async_callback(conn.close)
        for tenant in (TENANT, OTHER):
            await conn.execute(
                "INSERT INTO treadle.tenant (id, public_id, name, created_at)"
                " OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, now())",
                tenant,
                new_id(),
                f"tenant {tenant}",
            )
        for table, days in (await day_partitions(conn)).items():
            for day in days:
                await conn.execute(f"DROP TABLE treadle.{partition_name(table, day)}")
        await ensure_partitions(conn, today=OLD)
        await ensure_partitions(conn, today=TODAY)
        yield conn


def clock_at(day: date) -> VirtualClock:
    return VirtualClock(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp())


def id_of(day: date, hour: float = 6) -> str:
    return id_at(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + hour * 3600)


async def store_run(conn: Conn, day: date, *, tenant: int = TENANT, parent_id: str | None = None) -> str:
    """A run that was made on this day, without saying where it is now."""
    task_id = id_of(day)
    await conn.execute(
        "INSERT INTO treadle.task (id, parent_id, tenant_id, queue_id, version, step, priority, created_at, input)"
        " VALUES ($1, $2, $3, 1, 1, 0, 1, $4, '{}')",
        task_id,
        parent_id,
        tenant,
        datetime(day.year, day.month, day.day, 6, tzinfo=UTC),
    )
    if parent_id is not None:
        await conn.execute(
            "INSERT INTO treadle.child (parent_id, child_id, tenant_id, key) VALUES ($1, $2, $3, 'only')",
            parent_id,
            task_id,
            tenant,
        )
    return task_id


async def leave_in(conn: Conn, table: str, task_id: str, *, tenant: int = TENANT) -> None:
    """Say where a run is: queued, running or backing off."""
    statement = {
        "queue_item": "INSERT INTO treadle.queue_item (task_id, tenant_id, position, expires_at, queue_id, attempt, rank,"
        " retries_used, reassigned) VALUES ($1, $2, 1, now(), 1, 1, 0, 0, 0)",
        "attempt": "INSERT INTO treadle.attempt (task_id, tenant_id, worker_id, assigned_at, timeout_at, attempt,"
        " retries_used, reassigned) VALUES ($1, $2, gen_random_uuid(), now(), now(), 1, 0, 0)",
        "timer": "INSERT INTO treadle.timer (task_id, tenant_id, due_at, attempt, retries_used, reassigned)"
        " VALUES ($1, $2, now(), 2, 1, 0)",
        "condition": "INSERT INTO treadle.condition (task_id, run_id, tenant_id, step, place, event_key)"
        " VALUES ($1, $1, $2, 0, 0, 'go')",
    }[table]
    await conn.execute(statement, task_id, tenant)


def all_of(*days: date) -> set[str]:
    return {partition_name(table, day) for table in TABLES for day in days}


def week_from(day: date) -> set[date]:
    """The days that have partitions when they were made on `day`."""
    return {day + timedelta(days=n) for n in range(-1, DAYS_AHEAD + 1)}


async def sweep(conn: Conn, *, today: date, keep_days: int) -> Swept:
    swept = await drop_old_partitions(conn, today=today, keep_days=keep_days)
    assert swept is not None
    return swept


# -- what goes -------------------------------------------------------------------------------------------------------


async def test_days_older_than_the_horizon_go_whole(conn: Conn) -> None:
    await store_run(conn, OLD)
    swept = await sweep(conn, today=TODAY, keep_days=30)
    assert set(swept.dropped) == all_of(*week_from(OLD))
    assert (swept.held, swept.busy) == ([], [])
    assert await conn.fetchval("SELECT count(*) FROM treadle.task") == 0
    assert all(week_from(TODAY) <= days for days in (await day_partitions(conn)).values())


async def test_the_horizon_counts_whole_days(conn: Conn) -> None:
    """A day is kept as long as one of its runs may be younger than that."""
    keep = 10
    await sweep(conn, today=OLD + timedelta(days=keep), keep_days=keep)
    assert all(OLD in days and OLD - timedelta(days=1) not in days for days in (await day_partitions(conn)).values())
    await sweep(conn, today=OLD + timedelta(days=keep + 1), keep_days=keep)
    assert all(OLD not in days for days in (await day_partitions(conn)).values())


async def test_a_second_sweep_finds_nothing(conn: Conn) -> None:
    await sweep(conn, today=TODAY, keep_days=30)
    assert await sweep(conn, today=TODAY, keep_days=30) == Swept()


# -- what stays ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["queue_item", "attempt", "timer", "condition"])
@pytest.mark.parametrize("tenant", [TENANT, OTHER])
async def test_the_day_of_a_run_that_has_not_ended_stays(conn: Conn, table: str, tenant: int) -> None:
    task_id = await store_run(conn, OLD, tenant=tenant)
    await leave_in(conn, table, task_id, tenant=tenant)
    swept = await sweep(conn, today=TODAY, keep_days=30)
    found = await day_partitions(conn)
    for name in OF_RUNS:
        assert found[name] & week_from(OLD) == {OLD}
    # What happened to it since, too, and the events that it may look back to.
    for name in ("event_log", "event"):
        assert found[name] & week_from(OLD) == {day for day in week_from(OLD) if day >= OLD}
    assert partition_name("task", OLD) in swept.held
    await conn.execute(f"DELETE FROM treadle.{table}")
    swept = await sweep(conn, today=TODAY, keep_days=30)
    assert (swept.held, swept.busy) == ([], [])
    assert not any(days & week_from(OLD) for days in (await day_partitions(conn)).values())


async def test_what_children_returned_stays_for_their_parent(conn: Conn) -> None:
    """A parent that still runs may ask again for what a child of a later day returned."""
    later = OLD + timedelta(days=3)
    parent = await store_run(conn, OLD)
    await store_run(conn, later, parent_id=parent)
    await leave_in(conn, "attempt", parent)
    await sweep(conn, today=TODAY, keep_days=30)
    found = await day_partitions(conn)
    for name in OF_RUNS:
        assert found[name] & week_from(OLD) == {OLD, later}


async def test_an_ended_run_of_another_tenant_holds_nothing(conn: Conn) -> None:
    """The ids of a tenant's queue say nothing about another tenant, but days are shared: one is enough to keep it."""
    await store_run(conn, OLD, tenant=OTHER)
    mine = await store_run(conn, OLD + timedelta(days=1))
    await leave_in(conn, "timer", mine)
    await sweep(conn, today=TODAY, keep_days=30)
    assert (await day_partitions(conn))["task"] & week_from(OLD) == {OLD + timedelta(days=1)}


async def test_a_drop_that_was_interrupted_is_finished(conn: Conn) -> None:
    """The runs of a day go first: what is left of the day then goes the next time, whatever else is in progress."""
    await conn.execute(f"DROP TABLE treadle.{partition_name('task', OLD)}")
    swept = await sweep(conn, today=TODAY, keep_days=30)
    assert {partition_name(table, OLD) for table in ("task_result", "child", "log_line")} <= set(swept.dropped)


async def test_attempts_to_come_of_runs_that_are_gone_are_forgotten(conn: Conn) -> None:
    """A failure handler that was reset and not called again keeps the number of its next attempt until then."""
    for day in (OLD, TODAY):
        await conn.execute(
            "INSERT INTO treadle.replayed (task_id, run_id, tenant_id, attempt) VALUES ($1, $1, $2, 2)",
            id_of(day),
            TENANT,
        )
    await leave_in(conn, "timer", await store_run(conn, OLD))
    await sweep(conn, today=TODAY, keep_days=30)
    assert await conn.fetchval("SELECT count(*) FROM treadle.replayed") == 2
    await conn.execute("DELETE FROM treadle.timer")
    await sweep(conn, today=TODAY, keep_days=30)
    assert [str(row["task_id"]) for row in await conn.fetch("SELECT task_id FROM treadle.replayed")] == [id_of(TODAY)]


async def test_events_go_with_their_day(conn: Conn) -> None:
    for day in (OLD, TODAY):
        await conn.execute(
            "INSERT INTO treadle.event (id, tenant_id, at, key, payload) VALUES ($1, $2, now(), 'k', '{}')",
            id_of(day),
            TENANT,
        )
    await sweep(conn, today=TODAY, keep_days=30)
    assert [str(row["id"]) for row in await conn.fetch("SELECT id FROM treadle.event")] == [id_of(TODAY)]


# -- who waits -------------------------------------------------------------------------------------------------------


async def test_a_reader_is_not_waited_for(conn: Conn, database_url: str) -> None:
    """Whoever reads the table keeps it from being dropped, and inserts go on all the while."""
    reader, writer = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    await store_run(conn, OLD)
    reading = reader.transaction()
    await reading.start()
    await reader.fetch("SELECT * FROM treadle.task")
    sweeping = asyncio.create_task(sweep(conn, today=TODAY, keep_days=30))
    async with asyncio.timeout(5):
        while not sweeping.done():
            await store_run(writer, TODAY)
            await writer.execute("DELETE FROM treadle.task WHERE id = $1", id_of(TODAY))
    swept = await sweeping
    assert set(swept.busy) == {partition_name("task", day) for day in week_from(OLD)}
    assert await conn.fetchval("SELECT count(*) FROM treadle.task") == 1
    await reading.rollback()
    assert (await sweep(conn, today=TODAY, keep_days=30)).busy == []
    await reader.close()
    await writer.close()


async def test_making_partitions_waits_for_no_reader(conn: Conn, database_url: str) -> None:
    reader = await asyncpg.connect(database_url)
    async with reader.transaction():
        await reader.fetch("SELECT * FROM treadle.task")
        async with asyncio.timeout(5):
            made = await ensure_partitions(conn, today=TODAY + timedelta(days=50))
    assert set(made) == all_of(*week_from(TODAY + timedelta(days=50)))
    await reader.close()


async def test_one_engine_at_a_time(conn: Conn, database_url: str) -> None:
    other = await asyncpg.connect(database_url)
    await other.execute("SELECT pg_advisory_lock($1)", retention.LOCK)
    assert await drop_old_partitions(conn, today=TODAY, keep_days=30) is None
    await other.close()
    assert (await sweep(conn, today=TODAY, keep_days=30)).dropped
    await sweep(conn, today=TODAY, keep_days=30)


async def test_a_replay_in_the_middle_keeps_its_day(
    conn: Conn, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that comes back between the first look and the lock is seen by the second look."""
    task_id = await store_run(conn, OLD)
    looks = 0
    holds_unended = retention.holds_unended

    async def look(on: Conn, low: str, high: str) -> bool:
        nonlocal looks
        if low == retention.day_ids(OLD)[0]:
            looks += 1
            held = await holds_unended(on, low, high)
            if looks == 1:
                other = await asyncpg.connect(database_url)
                await leave_in(other, "queue_item", task_id)
                await other.close()
            return held
        return await holds_unended(on, low, high)

    monkeypatch.setattr(retention, "holds_unended", look)
    swept = await sweep(conn, today=TODAY, keep_days=30)
    assert looks == 2
    assert partition_name("task", OLD) in swept.held
    assert await conn.fetchval("SELECT count(*) FROM treadle.task") == 1


# -- the janitor -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, size=2)
    await database.open()
    yield database
    await database.close()


async def test_a_janitor_makes_the_week_and_drops_what_is_old(conn: Conn, database: Database) -> None:
    clock = clock_at(TODAY)
    janitor = Partitions(database, clock, tends=True, retention_days=30)
    assert await janitor.look()
    assert all(days & week_from(OLD) == set() for days in (await day_partitions(conn)).values())
    clock.advance(5 * 86_400)
    assert await janitor.look()
    assert all(week_from(TODAY + timedelta(days=5)) <= days for days in (await day_partitions(conn)).values())
    assert janitor.warning is None


async def test_retention_of_zero_days_keeps_everything(conn: Conn, database: Database) -> None:
    await Partitions(database, clock_at(TODAY), tends=True, retention_days=0).look()
    assert all(week_from(OLD) <= days for days in (await day_partitions(conn)).values())


async def test_the_alarm_is_raised_a_day_ahead(conn: Conn, database: Database) -> None:
    """A process that makes no partitions sees that nobody does."""
    last = TODAY + timedelta(days=DAYS_AHEAD)
    assert await missing_partitions(conn, day=last) == []
    watcher = Partitions(database, clock_at(last - timedelta(days=1)), tends=False, retention_days=30)
    assert await watcher.look()
    assert watcher.warning is None
    clock = clock_at(last)
    watcher = Partitions(database, clock, tends=False, retention_days=30)
    with capture_logs() as logs:
        assert not await watcher.look()
    assert watcher.warning is not None
    assert partition_name("task", last + timedelta(days=1)) in watcher.warning
    assert [entry["log_level"] for entry in logs] == ["error"]
    assert any(days & week_from(OLD) for days in (await day_partitions(conn)).values()), "it drops nothing either"
    await Partitions(database, clock, tends=True, retention_days=0).look()
    assert await watcher.look()
    assert watcher.warning is None


async def test_making_that_fails_is_told_only_when_it_matters(
    conn: Conn, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    del conn

    async def fail(*_args: object, **_kwargs: object) -> list[str]:
        raise asyncpg.InsufficientPrivilegeError("permission denied for schema treadle")

    monkeypatch.setattr("treadle.janitor.partitions.ensure_partitions", fail)
    early = Partitions(database, clock_at(TODAY + timedelta(days=3)), tends=True, retention_days=0)
    assert not await early.look()
    assert early.warning is None
    late = Partitions(database, clock_at(TODAY + timedelta(days=DAYS_AHEAD)), tends=True, retention_days=0)
    assert not await late.look()
    assert late.warning is not None
