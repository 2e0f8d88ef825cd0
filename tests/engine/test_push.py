"""Push: events get ids in order and are stored; what was stored already is not stored again."""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from treadle.engine import push
from treadle.engine.batch import Batch
from treadle.engine.commands import NewEvent, Push, resolve, tenant_of
from treadle.model.errors import Unavailable
from treadle.model.ids import time_of

NOW = float(int(time.time())) + 0.25
TENANT, OTHER = 1, 2

Conn = asyncpg.Connection


@pytest.fixture
async def conn(database_url: str) -> AsyncIterator[Conn]:
    conn = await asyncpg.connect(database_url)
    yield conn
    await conn.close()


def event(
    n: int = 0, *, scope: str | None = None, metadata: str | None = None, priority: int | None = None
) -> NewEvent:
    return NewEvent(f"key-{n}", b'{"n": %d}' % n, metadata, scope, priority)


def asked(*events: NewEvent, tenant_id: int = TENANT) -> tuple[Push, "asyncio.Future[list[str | BaseException]]"]:
    future: asyncio.Future[list[str | BaseException]] = asyncio.get_running_loop().create_future()
    return Push(tenant_id, list(events), lambda outcomes: resolve(future, outcomes)), future


async def commit(conn: Conn, *commands: Push, now: float = NOW) -> Batch:
    batch = Batch(now)
    async with conn.transaction():
        for command in commands:
            await push.apply(command, batch, conn)
        if batch.pushed:
            await push.write(batch, conn)
    for answer in batch.after:
        answer()
    return batch


async def stored(conn: Conn) -> list[asyncpg.Record]:
    return await conn.fetch("SELECT * FROM treadle.event ORDER BY id")


async def test_events_are_stored_as_they_are(conn: Conn) -> None:
    command, future = asked(event(1, scope="s", metadata='{"a": 1}', priority=3), event(2))
    batch = await commit(conn, command)
    ids = await future
    first, second = await stored(conn)
    assert [str(first["id"]), str(second["id"])] == ids == [pushed.id for pushed in batch.pushed]
    assert first["at"] == batch.moment
    assert (first["tenant_id"], first["key"], first["scope"], first["priority"], first["metadata"], first["payload"]) == (
        TENANT, "key-1", "s", 3, '{"a": 1}', b'{"n": 1}',
    )  # fmt: skip
    assert (second["key"], second["scope"], second["priority"], second["metadata"]) == ("key-2", None, None, None)
    assert all(time_of(str(entry)) == NOW for entry in ids)


async def test_ids_sort_in_the_order_of_the_pushes(conn: Conn) -> None:
    one, first = asked(*(event(n) for n in range(500)))
    two, second = asked(*(event(n) for n in range(500, 1000)), tenant_id=OTHER)
    three, third = asked(event(1000))
    await commit(conn, one, two)
    # In the same moment, and later.
    await commit(conn, three)
    four, fourth = asked(event(1001))
    await commit(conn, four, now=NOW + 0.000_5)
    ids = [str(entry) for entry in (*await first, *await second, *await third, *await fourth)]
    assert ids == sorted(ids)
    assert [row["key"] for row in await stored(conn)] == [f"key-{n}" for n in range(1002)]


async def test_nobody_is_answered_before_the_commit(conn: Conn) -> None:
    command, future = asked(event())
    batch = Batch(NOW)
    await push.apply(command, batch, conn)
    await push.write(batch, conn)
    assert not future.done()


async def test_after_an_unknown_outcome_what_was_stored_is_only_answered(conn: Conn) -> None:
    command, future = asked(event(1), event(2))
    batch = Batch(NOW)
    await push.apply(command, batch, conn)
    await push.write(batch, conn)
    # The commit took effect, but the connection was lost before that was known.
    command.uncertain = True
    again = await commit(conn, command, now=NOW + 5)
    assert again.pushed == []
    assert await future == [str(row["id"]) for row in await stored(conn)] == command.ids
    assert len(command.ids) == 2


async def test_after_an_unknown_outcome_what_was_not_stored_gets_the_time_of_the_new_commit(conn: Conn) -> None:
    command, future = asked(event(1), event(2))
    await push.apply(command, Batch(NOW), conn)
    command.uncertain = True
    batch = await commit(conn, command, now=NOW + 5)
    rows = await stored(conn)
    assert await future == [str(row["id"]) for row in rows]
    assert [row["at"] for row in rows] == [batch.moment] * 2
    assert [time_of(str(row["id"])) for row in rows] == [NOW + 5] * 2


async def test_a_push_falls_into_single_events_and_is_answered_as_one(conn: Conn) -> None:
    command, future = asked(event(1), event(2), event(3))
    parts = command.split()
    assert [part.split() for part in parts] == [[], [], []]
    one, two, three = parts
    assert isinstance(one, Push)
    assert isinstance(three, Push)
    await commit(conn, three)
    two.fail(Unavailable("engine", "on purpose"))
    assert not future.done()
    await commit(conn, one)
    first, second, third = await future
    assert isinstance(second, Unavailable)
    assert {str(row["id"]): row["key"] for row in await stored(conn)} == {first: "key-1", third: "key-3"}


async def test_the_size_of_a_push_counts_events_and_payloads() -> None:
    command, _ = asked(*(event(n) for n in range(10)))
    assert command.size == 10
    assert tenant_of(command) == TENANT
    large, _ = asked(NewEvent("k", b"x" * 40_960, None, None, None))
    assert large.size == 11
