"""Look back: the earliest event that meets a condition, whatever was pushed before and beside it."""

import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import asyncpg
import pytest

from tests.engine.flows import flow, step
from tests.engine.harness import Engine
from treadle.engine import look_back as module
from treadle.engine import push
from treadle.engine.batch import Batch
from treadle.engine.commands import NewEvent, Push
from treadle.engine.look_back import Look, Seen, look_back
from treadle.model.definition import ConditionAction, Conditions, EventCondition
from treadle.model.states import EventKind
from treadle.runtime.clock import moment
from treadle.storage import event as rows

NOW = float(int(time.time()))
TENANT, OTHER = 1, 2

Conn = asyncpg.Connection


@pytest.fixture
async def conn(database_url: str) -> AsyncIterator[Conn]:
    conn = await asyncpg.connect(database_url)
    yield conn
    await conn.close()


async def pushed(
    conn: Conn,
    *payloads: bytes,
    at: float = NOW,
    key: str = "k",
    scope: str | None = None,
    tenant_id: int = TENANT,
    metadata: str | None = None,
) -> list[str]:
    """Events of one commit; their ids."""
    batch = Batch(at)
    events = [NewEvent(key, payload, metadata, scope, None) for payload in payloads]
    command = Push(tenant_id, events, lambda _: None)
    await push.apply(command, batch, conn)
    await push.write(batch, conn)
    return command.ids


def look(expression: str = "", *, since: float = NOW, key: str = "k", scope: str | None = None) -> Look:
    return Look(TENANT, key, scope, moment(since), expression)


async def payload_of(conn: Conn, wanted: Look) -> bytes | None:
    [seen] = await look_back(conn, [wanted])
    assert seen.complete
    return seen.payload


async def test_without_an_expression_the_earliest_since_the_time(conn: Conn) -> None:
    await pushed(conn, b'{"n": 0}', at=NOW - 1)
    [first, _] = await pushed(conn, b'{"n": 1}', b'{"n": 2}')
    await pushed(conn, b'{"n": 3}', at=NOW + 1)
    assert await look_back(conn, [look()]) == [Seen(b'{"n": 1}', first, None, complete=True)]
    assert await payload_of(conn, look(since=NOW - 1)) == b'{"n": 0}'
    assert await payload_of(conn, look(since=NOW + 1)) == b'{"n": 3}'


async def test_nothing_is_there(conn: Conn) -> None:
    await pushed(conn, b"{}", at=NOW - 1)
    await pushed(conn, b"{}", key="other")
    await pushed(conn, b"{}", tenant_id=OTHER)
    assert await look_back(conn, [look()]) == [Seen(None, None, None, complete=True)]
    assert await look_back(conn, []) == []


async def test_a_time_is_kept_to_the_microsecond(conn: Conn) -> None:
    """Also within the millisecond that an id tells of."""
    await pushed(conn, b'{"n": 1}', at=NOW + 0.000_100)
    await pushed(conn, b'{"n": 2}', at=NOW + 0.000_200)
    assert await payload_of(conn, look(since=NOW + 0.000_101)) == b'{"n": 2}'
    assert await payload_of(conn, look(since=NOW + 0.000_200)) == b'{"n": 2}'
    assert await payload_of(conn, look(since=NOW + 0.000_201)) is None


async def test_a_scope_must_be_the_same_if_the_condition_has_one(conn: Conn) -> None:
    await pushed(conn, b'{"n": 1}')
    await pushed(conn, b'{"n": 2}', scope="b", at=NOW + 1)
    await pushed(conn, b'{"n": 3}', scope="a", at=NOW + 2)
    assert await payload_of(conn, look(scope="a")) == b'{"n": 3}'
    assert await payload_of(conn, look(scope="c")) is None
    assert await payload_of(conn, look()) == b'{"n": 1}'


async def test_the_first_for_which_the_expression_holds(conn: Conn) -> None:
    ids = await pushed(conn, *(b'{"n": %d}' % n for n in range(200)), metadata='{"region": "eu"}')
    wanted = [
        look("input.n > 150"),
        look("additional_metadata.region == 'eu' && event_key == 'k'"),
        look(f"event_id == '{ids[77]}'"),
        look("payload == {} && input.n == 199"),
        look("input.n > 500"),
    ]
    seen = await look_back(conn, wanted)
    assert [entry.event_id for entry in seen] == [ids[151], ids[0], ids[77], ids[199], None]
    assert all(entry.complete and entry.failure is None for entry in seen)


async def test_an_expression_that_fails_does_not_hold_and_says_why_once(conn: Conn) -> None:
    ids = await pushed(conn, b"{}", b'{"n": "text"}', b'{"n": 5}')
    [seen] = await look_back(conn, [look("input.n > 4")])
    assert seen == Seen(b'{"n": 5}', ids[2], "there is no key 'n'", complete=True)


async def test_large_payloads_come_one_by_one(conn: Conn) -> None:
    large = [b'{"n": %d, "x": "%s"}' % (n, b"x" * 100_000) for n in range(3)]
    await pushed(conn, *large)
    assert await payload_of(conn, look()) == large[0]
    assert await payload_of(conn, look("input.n == 2")) == large[2]


async def test_equal_looks_are_made_once(conn: Conn, monkeypatch: pytest.MonkeyPatch) -> None:
    await pushed(conn, b'{"n": 1}', b'{"n": 2}')
    asked = []
    earliest = rows.earliest

    async def counted(
        conn: Conn, *, wanted: Sequence[rows.Wanted], limit: int, payload_limit: int
    ) -> list[rows.EarlierEvent]:
        asked.append(len(wanted))
        return await earliest(conn, wanted=wanted, limit=limit, payload_limit=payload_limit)

    monkeypatch.setattr(rows, "earliest", counted)
    seen = await look_back(conn, [look("input.n == 1"), look("input.n == 2")] * 500)
    assert [entry.payload for entry in seen] == [b'{"n": 1}', b'{"n": 2}'] * 500
    # The first page has one event each; the second look needs another.
    assert asked == [2, 1]


async def test_many_different_looks(conn: Conn) -> None:
    await pushed(conn, *(b'{"n": %d}' % n for n in range(30)))
    seen = await look_back(conn, [look(f"input.n == {n}") for n in range(250)])
    assert [entry.payload is not None for entry in seen] == [n < 30 for n in range(250)]


async def test_there_is_an_end_to_looking(conn: Conn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SEEN", 120)
    await pushed(conn, *(b'{"n": %d}' % n for n in range(200)))
    first, last, few = await look_back(
        conn, [look("input.n == 119"), look("input.n == 120"), look("input.n == 500", since=NOW + 1)]
    )
    assert (first.payload, first.complete) == (b'{"n": 119}', True)
    assert (last.payload, last.complete) == (None, False)
    assert (few.payload, few.complete) == (None, True)


async def test_events_of_earlier_days(conn: Conn) -> None:
    yesterday = NOW - timedelta(hours=20).total_seconds()
    await pushed(conn, b'{"n": 1}', at=yesterday)
    await pushed(conn, b'{"n": 2}')
    assert await payload_of(conn, look(since=yesterday - 1)) == b'{"n": 1}'
    assert await payload_of(conn, look(since=NOW - 86_400 * 300)) == b'{"n": 1}'
    assert await payload_of(conn, look("input.n == 2", since=0)) == b'{"n": 2}'


async def test_what_hinders_a_look_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each condition, however many events there are."""
    monkeypatch.setattr(module, "MAX_SEEN", 120)
    waits = Conditions(events=(EventCondition("go", "the word", ConditionAction.QUEUE, 0, "input.n > 4", None, 1),))
    made = await flow(engine, step("a"), step("b", "a", conditions=waits))
    run_id = await made.start()
    for _ in range(130):
        engine.ask_push("go", b'{"other": 1}')
    await engine.settle()
    await made.complete(run_id, "a")
    assert made.delivered() == ["a"]
    rows = await engine.fetch(
        "SELECT details FROM treadle.event_log WHERE kind = $1 AND $2::text::uuid = ANY (task_ids)",
        EventKind.EXPRESSION_FAILED,
        made.id(run_id, "b"),
    )
    assert [detail for row in rows for detail in row["details"]] == [
        "the word: there is no key 'n'",
        f"the word: {module.MAX_SEEN} earlier events were looked at, and no more",
    ]
    # What comes from now on meets it all the same.
    await engine.push("go", b'{"n": 5}')
    assert made.delivered() == ["b"]
