"""Pushing events, against the scripted engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from treadle import BulkPushFailed, InvalidInput, NewEvent, Treadle
from treadle.wire.gen.treadle.v1 import events_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sdk.peer import PeerEngine


class Receipt(BaseModel):
    amount: int


async def test_events_are_pushed(engine: PeerEngine, app: Treadle) -> None:
    assert (
        await app.push("approved", Receipt(amount=3), scope="eu", metadata={"by": "me"}, priority=3) == "event-approved"
    )
    assert await app.push("plain") == "event-plain"
    assert await app.push_many(NewEvent(f"e{n}", {"n": n}) for n in range(1001)) == [f"event-e{n}" for n in range(1001)]
    requests = [request for _, request in engine.unary if isinstance(request, events_pb2.PushRequest)]
    assert [len(request.events) for request in requests] == [1, 1, 1000, 1]
    first, second = requests[0].events[0], requests[1].events[0]
    assert (first.payload, first.scope, first.metadata, first.priority) == (b'{"amount":3}', "eu", '{"by":"me"}', 3)
    assert (second.payload, second.scope, second.metadata, second.priority) == (b"{}", "", "", 0)


async def test_events_that_are_refused(app: Treadle) -> None:
    with pytest.raises(InvalidInput, match="key: is not wanted"):
        await app.push("refused")
    with pytest.raises(BulkPushFailed, match="1 of 3 events were refused; the first, number 1: key") as caught:
        await app.push_many([NewEvent("a"), NewEvent("refused"), NewEvent("b")])
    assert caught.value.ids == ["event-a", None, "event-b"]
    assert list(caught.value.problems) == [1]
    mistakes: tuple[tuple[Callable[[], Any], str], ...] = (
        (lambda: app.push(" "), "event key: is empty"),
        (lambda: app.push("a", [1]), r"event a payload: is no JSON object but \[1\]"),
        (lambda: app.push("a", {"x": float("nan")}), "event a payload: .* NaN"),
        (lambda: app.push("a", {"x": "y" * 5_000_000}), "event a payload: is 4.8 MiB"),
    )
    for bad, message in mistakes:
        with pytest.raises(InvalidInput, match=message):
            bad()
