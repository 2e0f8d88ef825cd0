"""Look back: the earliest stored event that meets a condition which considers events from before it was registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.engine import cel
from treadle.model.ids import id_at
from treadle.storage import event as rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from treadle.storage.database import Conn

MAX_SEEN = 10_000
"""Most events looked at for one condition: everybody waits for the look."""

_AT_ONCE = 100
_PAGE = 50
# Larger payloads are read one by one: a page of them could be more than memory holds.
_PAYLOAD_KEPT = 8192


class Look(NamedTuple):
    """What to look for: events of a key, with this scope or any, pushed since a time, for which an expression holds.

    An empty expression holds for every event.
    """

    tenant_id: int
    key: str
    scope: str | None
    since: datetime
    expression: str


class Seen(NamedTuple):
    """What was found; `payload` None when nothing was.

    `failure` tells how the expression failed first, if it ever did; `complete` whether every event was looked at that
    could have been it.
    """

    payload: bytes | None
    event_id: str | None
    failure: str | None
    complete: bool


async def look_back(conn: Conn, looks: Sequence[Look]) -> list[Seen]:
    """The earliest event for each look, in their order; equal looks are made once."""
    distinct = list(dict.fromkeys(looks))
    seen: dict[Look, Seen] = {}
    for first in range(0, len(distinct), _AT_ONCE):
        seen |= await _Looking(conn, distinct[first : first + _AT_ONCE]).finish()
    return [seen[look] for look in looks]


class _Looking:
    """Looks that are made together, page by page."""

    def __init__(self, conn: Conn, looks: Sequence[Look]) -> None:
        self._conn = conn
        self._open = {
            # An id is of its millisecond, and the time of an event more exact than that.
            look: id_at(look.since.timestamp() - 0.001)
            for look in looks
        }
        self._failures: dict[Look, str] = {}
        self._seen: dict[Look, Seen] = {}

    async def finish(self) -> dict[Look, Seen]:
        # Most find what they look for at once, or nothing is there.
        limit = 1
        read = 0
        while self._open:
            await self._page(limit)
            read += limit
            limit = min(_PAGE, MAX_SEEN - read)
            if limit == 0:
                self._give_up()
        return self._seen

    async def _page(self, limit: int) -> None:
        looks = list(self._open)
        found: list[list[rows.EarlierEvent]] = [[] for _ in looks]
        for event in await rows.earliest(
            self._conn,
            wanted=[rows.Wanted(look.tenant_id, look.key, look.scope, look.since, self._open[look]) for look in looks],
            limit=limit,
            payload_limit=_PAYLOAD_KEPT,
        ):
            found[event.place].append(event)
        for look, events in zip(looks, found, strict=True):
            if await self._first(look, events) is not None:
                del self._open[look]
            elif len(events) < limit:
                del self._open[look]
                self._seen[look] = Seen(None, None, self._failures.get(look), complete=True)
            else:
                self._open[look] = events[-1].id

    async def _first(self, look: Look, events: Sequence[rows.EarlierEvent]) -> Seen | None:
        for event in events:
            payload = event.payload
            if payload is None:
                payload = await rows.load_payload(self._conn, tenant_id=look.tenant_id, id=event.id)
            if self._holds(look, event, payload):
                seen = self._seen[look] = Seen(payload, event.id, self._failures.get(look), complete=True)
                return seen
        return None

    def _holds(self, look: Look, event: rows.EarlierEvent, payload: bytes) -> bool:
        if not look.expression:
            return True
        known = cel.event_variables(payload=payload, metadata=event.metadata, event_id=event.id, event_key=look.key)
        try:
            return cel.evaluate_bool(look.expression, known)
        except cel.ExpressionFailed as failed:
            self._failures.setdefault(look, failed.reason)
            return False

    def _give_up(self) -> None:
        for look in self._open:
            self._seen[look] = Seen(None, None, self._failures.get(look), complete=False)
        self._open = {}
