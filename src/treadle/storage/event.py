"""Twins of sql/event.sql: the events that users have pushed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.storage import arrays
from treadle.storage.load import statements
from treadle.storage.rows import only

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from treadle.storage.database import Conn

_SQL = statements("event")


class EventRow(NamedTuple):
    """A new event, column by column."""

    id: str
    tenant_id: int
    at: datetime
    key: str
    scope: str | None
    priority: int | None
    metadata: str | None
    payload: bytes


class Wanted(NamedTuple):
    """Events of a key, with this scope or any, pushed at a time or later, after the one that has been seen."""

    tenant_id: int
    key: str
    scope: str | None
    since: datetime
    after: str


class EarlierEvent(NamedTuple):
    """A stored event; `place` is that of the wish it is an answer to. A large payload is left where it is: None."""

    place: int
    id: str
    at: datetime
    metadata: str | None
    payload: bytes | None


async def insert_events(conn: Conn, rows: Iterable[EventRow]) -> None:
    """Store new events, by COPY."""
    await conn.copy_records_to_table("event", schema_name="treadle", columns=EventRow._fields, records=rows)


async def earliest(conn: Conn, *, wanted: Sequence[Wanted], limit: int, payload_limit: int) -> list[EarlierEvent]:
    """Of each wish up to `limit` events, in the order in which they were pushed, with payloads of up to that many bytes."""
    rows = await conn.fetch(
        _SQL["earliest"],
        arrays.numbers(wish.tenant_id for wish in wanted),
        [wish.key for wish in wanted],
        [wish.scope for wish in wanted],
        [wish.since for wish in wanted],
        arrays.ids(wish.after for wish in wanted),
        limit,
        payload_limit,
    )
    return [EarlierEvent(row[0] - 1, str(row[1]), row[2], row[3], row[4]) for row in rows]


async def load_payload(conn: Conn, *, tenant_id: int, id: str) -> bytes:  # noqa: A002 - the column's name
    """The payload of one event."""
    payload: bytes = only(await conn.fetchrow(_SQL["load_payload"], tenant_id, id))["payload"]
    return payload


async def existing_events(conn: Conn, *, tenant_id: int, ids: Sequence[str]) -> set[str]:
    """Which of these ids are stored."""
    return {str(row[0]) for row in await conn.fetch(_SQL["existing_events"], tenant_id, arrays.ids(ids))}
