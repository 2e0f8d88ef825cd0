"""The pool: a database that is gone is Unavailable, and everything else is itself."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.support.databases import sibling
from treadle.model.errors import Unavailable
from treadle.storage.database import Database, connect, is_connection_problem, unlock

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, size=2)
    await database.open()
    yield database
    await database.close()


async def end(url: str, pid: int) -> None:
    conn = await asyncpg.connect(url)
    await conn.fetch("SELECT pg_terminate_backend($1, 5000)", pid)
    await conn.close()


async def test_a_connection_that_is_killed_is_unavailable_and_the_next_one_works(database: Database) -> None:
    async def use() -> None:
        async with database.connection() as conn:
            await end(database.url, conn.get_server_pid())
            await conn.fetchval("SELECT 1")

    with pytest.raises(Unavailable, match="database"):
        await use()
    async with database.connection() as conn:
        assert await conn.fetchval("SELECT 1") == 1


async def test_a_connection_killed_in_the_pool_is_replaced_or_unavailable(database: Database) -> None:
    async with database.connection() as conn:
        pid = conn.get_server_pid()
    await end(database.url, pid)
    outcomes = []
    for _ in range(3):
        try:
            async with database.connection() as conn:
                outcomes.append(await conn.fetchval("SELECT 1"))
        except Unavailable:
            outcomes.append(None)
    assert outcomes[-1] == 1


async def test_a_connection_killed_in_a_transaction_is_unavailable(database: Database) -> None:
    async def write() -> None:
        async with database.transaction() as conn:
            await conn.execute("INSERT INTO treadle.queue (tenant_id, name) VALUES (1, 'x')")
            await end(database.url, conn.get_server_pid())

    with pytest.raises(Unavailable):
        await write()
    async with database.connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM treadle.queue") == 0


async def test_a_fault_of_our_own_is_not_blamed_on_the_database(database: Database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        async with database.connection() as conn:
            await conn.fetch("SELECT * FROM treadle.nothing")
    with pytest.raises(ZeroDivisionError):
        async with database.transaction():
            raise ZeroDivisionError


async def test_a_failed_block_rolls_back(database: Database) -> None:
    async def write() -> None:
        async with database.transaction() as conn:
            await conn.execute("INSERT INTO treadle.queue (tenant_id, name) VALUES (1, 'x')")
            raise KeyError

    with pytest.raises(KeyError):
        await write()
    async with database.connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM treadle.queue") == 0


async def test_a_closed_pool_is_unavailable(database: Database) -> None:
    await database.close()
    await database.close()
    with pytest.raises(Unavailable):
        async with database.connection():
            pass
    await database.open()
    await database.open()
    async with database.connection() as conn:
        assert await conn.fetchval("SELECT 1") == 1


async def test_a_database_that_does_not_answer_is_unavailable(database_url: str) -> None:
    with pytest.raises(Unavailable, match="cannot connect"):
        await connect(NOWHERE, name="test")
    with pytest.raises(Unavailable, match="cannot connect"):
        await Database(NOWHERE).open()
    with pytest.raises(Unavailable, match="does not exist"):
        await connect(sibling(database_url, "missing"), name="test")
    with pytest.raises(Unavailable, match="cannot connect"):
        await connect("postgresql://x@localhost:port/y", name="test")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (asyncpg.ConnectionDoesNotExistError("gone"), True),
        (asyncpg.AdminShutdownError("terminating"), True),
        (asyncpg.CannotConnectNowError("starting up"), True),
        (asyncpg.TooManyConnectionsError("full"), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (asyncpg.InterfaceError("cannot call Connection.fetch(): connection has been released back to the pool"), True),
        (asyncpg.InterfaceError("cannot perform operation: another operation is in progress"), False),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (asyncpg.UniqueViolationError("twice"), False),
        (asyncpg.CheckViolationError("no partition"), False),
        (ValueError("bad"), False),
        (asyncio.CancelledError(), False),
    ],
)
def test_what_can_pass_by_itself(error: BaseException, expected: bool) -> None:
    assert is_connection_problem(error) is expected


async def test_a_connection_is_given_back_without_a_statement(database: Database) -> None:
    async with database.connection() as other:
        async with database.connection() as conn:
            pid = conn.get_server_pid()
            await conn.fetchval("SELECT 1 AS the_last_one")
        last = await other.fetchval("SELECT query FROM pg_stat_activity WHERE pid = $1", pid)
    assert last == "SELECT 1 AS the_last_one"


async def test_a_lock_that_cannot_be_given_back_goes_with_its_connection(database: Database) -> None:
    async with database.connection() as conn, database.connection() as other:
        await conn.execute("SELECT pg_advisory_lock(7)")
        await conn.execute("BEGIN")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await conn.execute("SELECT 1 / 0")
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await unlock(conn, 7)
        await other.execute("SELECT pg_advisory_lock(7)")
