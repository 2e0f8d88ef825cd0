"""Migrations: their sum is the schema we know, and no way of applying them leaves half of one."""

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from tests.storage.schema import SNAPSHOT, schema_facts
from tests.support.databases import new_database
from treadle.model.ids import id_at
from treadle.storage import migrate as migrate_module
from treadle.storage.migrate import migrate, migration_files
from treadle.storage.partitions import BY_ID, BY_TIME, DAYS_AHEAD, ensure_partitions

REAL = migration_files()


@pytest.fixture
def bare_url(postgres_url: str) -> Iterator[str]:
    """A database without anything in it."""
    with new_database(postgres_url) as url:
        yield url


async def value(url: str, query: str) -> object:
    conn = await asyncpg.connect(url)
    try:
        return await conn.fetchval(query)
    finally:
        await conn.close()


async def partitions(url: str) -> set[str]:
    conn = await asyncpg.connect(url)
    rows = await conn.fetch("SELECT inhrelid::regclass::text AS name FROM pg_inherits")
    await conn.close()
    return {row["name"].removeprefix("treadle.") for row in rows if re.search(r"_\d{8}$", row["name"])}


async def test_the_sum_of_the_migrations_is_the_schema_we_know(database_url: str) -> None:
    """After a new migration: `python -m tests.storage.schema` renews the file, and review sees what has changed."""
    assert await schema_facts(database_url) == SNAPSHOT.read_text()


async def test_migrating_again_changes_nothing(bare_url: str) -> None:
    assert await migrate(bare_url) == [name for name, _ in REAL]
    before = await schema_facts(bare_url), await partitions(bare_url)
    stamp = await value(bare_url, "SELECT max(applied_at) FROM treadle.migration")
    assert await migrate(bare_url) == []
    assert (await schema_facts(bare_url), await partitions(bare_url)) == before
    assert await value(bare_url, "SELECT max(applied_at) FROM treadle.migration") == stamp


async def test_migrators_at_once_wait_for_each_other(bare_url: str) -> None:
    applied = await asyncio.gather(*(migrate(bare_url) for _ in range(4)))
    assert sorted(applied) == [[], [], [], [name for name, _ in REAL]]
    assert await schema_facts(bare_url) == SNAPSHOT.read_text()


def test_files_are_numbered_without_gaps_and_say_when_they_run() -> None:
    names = [name for name, _ in REAL]
    assert names == sorted(names)
    for number, name in enumerate(names, 1):
        assert re.fullmatch(rf"{number:04}_(pre|post)_[a-z0-9_]+\.sql", name), name


SECOND = ("0002_pre_second.sql", "CREATE TABLE treadle.second (x integer); CREATE TABLE treadle.also (x integer);")
THIRD = ("0003_pre_third.sql", "CREATE TABLE treadle.third (x integer);")
BROKEN = {
    "an error": "CREATE TABLE treadle.second (x integer); SELECT 1 / 0; CREATE TABLE treadle.also (x integer);",
    "a kill": "CREATE TABLE treadle.second (x integer); SELECT pg_terminate_backend(pg_backend_pid()); SELECT 1;",
}


@pytest.mark.parametrize("how", BROKEN)
async def test_an_end_in_the_middle_leaves_a_whole_number_of_files(
    bare_url: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(migrate_module, "migration_files", lambda: [*REAL, (SECOND[0], BROKEN[how]), THIRD])
    with pytest.raises((asyncpg.PostgresError, ConnectionError, asyncpg.InterfaceError)):
        await migrate(bare_url)
    assert await value(bare_url, "SELECT count(*) FROM treadle.migration") == len(REAL)
    assert await value(bare_url, "SELECT to_regclass('treadle.second')") is None
    assert await value(bare_url, "SELECT to_regclass('treadle.third')") is None
    monkeypatch.setattr(migrate_module, "migration_files", lambda: [*REAL, SECOND, THIRD])
    assert await migrate(bare_url) == [SECOND[0], THIRD[0]]
    assert await value(bare_url, "SELECT to_regclass('treadle.also')") is not None


async def test_partitions_reach_from_yesterday_to_a_week_ahead(database_url: str) -> None:
    today = datetime.now(UTC).date()
    days = [today + timedelta(days=n) for n in range(-1, DAYS_AHEAD + 1)]
    found = await partitions(database_url)
    for table in (*BY_ID, *BY_TIME):
        wanted = {f"{table}_{day:%Y%m%d}" for day in days}
        assert wanted <= found
    partitioned = await value(database_url, "SELECT count(*) FROM pg_partitioned_table")
    assert partitioned == len(BY_ID) + len(BY_TIME)


async def test_partitions_are_made_once_however_many_ask(database_url: str) -> None:
    later = datetime.now(UTC).date() + timedelta(days=40)

    async def ensure() -> list[str]:
        conn = await asyncpg.connect(database_url)
        try:
            return await ensure_partitions(conn, today=later)
        finally:
            await conn.close()

    made = await asyncio.gather(*(ensure() for _ in range(3)))
    assert sorted(len(names) for names in made) == [0, 0, (DAYS_AHEAD + 2) * (len(BY_ID) + len(BY_TIME))]
    found = await partitions(database_url)
    assert f"task_{later:%Y%m%d}" in found
    assert await ensure() == []


async def test_a_gap_of_days_does_not_matter(database_url: str) -> None:
    conn = await asyncpg.connect(database_url)
    made = await ensure_partitions(conn, today=date(2031, 12, 31))
    assert f"event_log_{date(2032, 1, 7):%Y%m%d}" in made
    midnight = datetime(2032, 1, 1, tzinfo=UTC).timestamp()
    for at, table in ((midnight, "task_result_20320101"), (midnight - 0.001, "task_result_20311231")):
        place = await conn.fetchval(
            "INSERT INTO treadle.task_result (id, tenant_id, attempt, status, retries_used, finished_at) "
            "VALUES ($1::uuid, 1, 1, 3, 0, now()) RETURNING tableoid::regclass::text",
            id_at(at),
        )
        assert place.removeprefix("treadle.") == table
    await conn.close()
