"""Events of users come in: each is checked before any of its batch is stored, and answered once all are durable."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import orjson

from treadle.engine.commands import NewEvent, Push, resolve
from treadle.model.errors import InvalidInput, TreadleError
from treadle.model.ids import time_of
from treadle.model.payload import check_json, check_metadata
from treadle.wire.checks import MAX_KEY, check_key, check_text
from treadle.wire.convert import hatchet_time, time_us
from treadle.wire.gen.hatchet import events_pb2 as pb
from treadle.wire.gen.treadle.v1 import events_pb2 as own
from treadle.wire.status import problem_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.engine.inbox import Door
    from treadle.wire.serving import Caller, Handlers

MAX_EVENTS = 1000
"""Most events in one push."""

PRIORITIES = (1, 2, 3)


class Pushed(NamedTuple):
    """An event that someone pushes, in neither contract's words. Empty texts and 0 stand for "not given"."""

    key: str
    payload: bytes
    metadata: str
    scope: str
    priority: int
    metadata_field: str


class Events:
    """Serves pushes of both contracts.

    Args:
        inbox: the engine's loop.
        max_payload_bytes: largest payload.
    """

    def __init__(self, *, inbox: Door, max_payload_bytes: int) -> None:
        self._inbox = inbox
        self._max_payload_bytes = max_payload_bytes

    def handlers(self) -> Handlers:
        """What this module serves."""
        return {
            "/EventsService/Push": self.push,
            "/EventsService/BulkPush": self.bulk_push,
            "/treadle.v1.Events/Push": self.push_each,
        }

    async def push(self, request: pb.PushEventRequest, caller: Caller) -> pb.Event:
        """One event."""
        [answer] = await self._all_or_none([request], [""], caller)
        return answer

    async def bulk_push(self, request: pb.BulkPushEventRequest, caller: Caller) -> pb.Events:
        """Up to 1000 events, all of them or none."""
        _check_count(len(request.events))
        prefixes = [f"events[{index}]." for index in range(len(request.events))]
        return pb.Events(events=await self._all_or_none(request.events, prefixes, caller))

    async def push_each(self, request: own.PushRequest, caller: Caller) -> own.PushResponse:
        """Up to 1000 events, each with an outcome of its own."""
        _check_count(len(request.events))
        checked: list[NewEvent | TreadleError] = []
        for index, event in enumerate(request.events):
            pushed = Pushed(event.key, event.payload, event.metadata, event.scope, event.priority, "metadata")
            try:
                checked.append(self._check(pushed, f"events[{index}]."))
            except TreadleError as problem:
                checked.append(problem)
        good = [entry for entry in checked if isinstance(entry, NewEvent)]
        stored = iter(await self._store(good, caller) if good else ())
        return own.PushResponse(
            outcomes=[_outcome(next(stored) if isinstance(entry, NewEvent) else entry) for entry in checked]
        )

    async def _all_or_none(
        self, requests: Sequence[pb.PushEventRequest], prefixes: Sequence[str], caller: Caller
    ) -> list[pb.Event]:
        """Store events if every one of them is good; the first that is not is the error."""
        events = []
        for request, prefix in zip(requests, prefixes, strict=True):
            events.append(self._check(_from_hatchet(request), prefix))
            # The time of an event is that of its commit: what the caller's clock says is only looked at.
            time_us(request.event_timestamp, f"{prefix}event_timestamp")
        answers = []
        for event, outcome in zip(events, await self._store(events, caller), strict=True):
            if isinstance(outcome, BaseException):
                raise outcome
            answers.append(_answer(event, outcome, caller))
        return answers

    def _check(self, pushed: Pushed, prefix: str) -> NewEvent:
        check_text(check_key(pushed.key, f"{prefix}key"), f"{prefix}key", MAX_KEY)
        payload = check_json(
            pushed.payload or b"{}",
            f"{prefix}payload",
            object_only=True,
            max_bytes=self._max_payload_bytes,
            loads=orjson.loads,
        )
        metadata = check_metadata(pushed.metadata, prefix + pushed.metadata_field, loads=orjson.loads)
        if pushed.priority and pushed.priority not in PRIORITIES:
            raise InvalidInput(f"{prefix}priority", f"must be 1, 2 or 3, not {pushed.priority}")
        scope = check_text(pushed.scope, f"{prefix}scope", MAX_KEY)
        return NewEvent(pushed.key, payload, metadata or None, scope or None, pushed.priority or None)

    async def _store(self, events: list[NewEvent], caller: Caller) -> list[str | BaseException]:
        future: asyncio.Future[list[str | BaseException]] = asyncio.get_running_loop().create_future()
        await self._inbox.put_when_owned(Push(caller.tenant_id, events, lambda outcomes: resolve(future, outcomes)))
        return await future


def _from_hatchet(request: pb.PushEventRequest) -> Pushed:
    return Pushed(
        request.key,
        request.payload.encode(),
        request.additional_metadata,
        request.scope,
        request.priority,
        "additional_metadata",
    )


def _answer(event: NewEvent, event_id: str, caller: Caller) -> pb.Event:
    return pb.Event(
        tenant_id=caller.tenant,
        event_id=event_id,
        key=event.key,
        payload=event.payload.decode(),
        event_timestamp=hatchet_time(round(time_of(event_id) * 1_000_000)),
        additional_metadata=event.metadata,
        scope=event.scope,
    )


def _outcome(outcome: str | BaseException) -> own.PushOutcome:
    if isinstance(outcome, str):
        return own.PushOutcome(event_id=outcome)
    return own.PushOutcome(problem=problem_of(outcome))


def _check_count(count: int) -> None:
    if not 1 <= count <= MAX_EVENTS:
        raise InvalidInput("events", f"must hold 1 to {MAX_EVENTS} events, not {count}")
