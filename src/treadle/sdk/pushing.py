"""Pushing events: what tasks wait for, and what starts runs of those that subscribe to a key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from treadle.model.errors import InvalidInput, TreadleError
from treadle.sdk.codec import BadOutput, OutputCodec
from treadle.sdk.errors import BulkPushFailed
from treadle.sdk.options import check_priority, encode_metadata
from treadle.sdk.starts import batch_bytes
from treadle.wire.gen.treadle.v1 import events_pb2
from treadle.wire.status import error_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from treadle.sdk.call import Call
    from treadle.sdk.gateway import Gateway

MAX_EVENTS = 1000
_PATH = "/treadle.v1.Events/Push"
_OVERHEAD = 64

_any_payload = OutputCodec("event", Any)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to push.

    Attributes:
        key: What conditions and subscriptions ask for.
        payload: A mapping, pydantic model, dataclass: anything that is a JSON object.
        scope: Meets only conditions that name it, or none; None: only those that name none.
        metadata: JSON object kept with the event, and with the runs that it starts.
        priority: 1 (low) to 3 (high), for the runs that it starts; None: their own.
    """

    key: str
    payload: Any = field(default_factory=dict)
    scope: str | None = None
    metadata: Mapping[str, Any] | None = None
    priority: int | None = None


def push(gateway: Gateway, event: NewEvent) -> Call[str]:
    """A call that pushes one event and returns its id."""
    message = _message(event, gateway.connection.max_message_bytes)

    async def send() -> str:
        (outcome,) = await _send(gateway, [message])
        if isinstance(outcome, TreadleError):
            raise outcome
        return outcome

    return gateway.call(f"app.push({event.key!r})", send, lambda event_id: event_id)


def push_many(gateway: Gateway, events: Iterable[NewEvent]) -> Call[list[str]]:
    """A call that pushes events and returns their ids."""
    limit = gateway.connection.max_message_bytes
    messages = [_message(event, limit) for event in events]

    async def send() -> list[str | TreadleError]:
        outcomes: list[str | TreadleError] = []
        for chunk in _chunks(messages, limit):
            outcomes += await _send(gateway, chunk)
        return outcomes

    return gateway.call("app.push_many(...)", send, _ids)


def _ids(outcomes: list[str | TreadleError]) -> list[str]:
    problems = {at: outcome for at, outcome in enumerate(outcomes) if isinstance(outcome, TreadleError)}
    ids = [outcome if isinstance(outcome, str) else None for outcome in outcomes]
    if problems:
        raise BulkPushFailed(ids, problems)
    return [event_id for event_id in ids if event_id is not None]


async def _send(gateway: Gateway, events: list[events_pb2.NewEvent]) -> list[str | TreadleError]:
    """Push in one request. It is not repeated when its answer is lost: an event that comes twice is two events."""
    response: events_pb2.PushResponse = await gateway.unary(
        _PATH, events_pb2.PushRequest(events=events), repeatable=False
    )
    outcomes: list[str | TreadleError] = [
        error_of(outcome.problem.code, outcome.problem.field, outcome.problem.message)
        if outcome.HasField("problem")
        else outcome.event_id
        for outcome in response.outcomes
    ]
    if len(outcomes) != len(events):
        raise TreadleError("", f"the engine answered {len(outcomes)} of {len(events)} events")
    return outcomes


def _chunks(messages: list[events_pb2.NewEvent], max_message_bytes: int) -> Iterator[list[events_pb2.NewEvent]]:
    limit = batch_bytes(max_message_bytes)
    chunk: list[events_pb2.NewEvent] = []
    total = 0
    for message in messages:
        size = message.ByteSize() + _OVERHEAD
        if chunk and (len(chunk) == MAX_EVENTS or total + size > limit):
            yield chunk
            chunk, total = [], 0
        chunk.append(message)
        total += size
    if chunk:
        yield chunk


def _message(event: NewEvent, max_message_bytes: int) -> events_pb2.NewEvent:
    where = f"event {event.key}"
    if not event.key.strip():
        raise InvalidInput("event key", "is empty")
    try:
        payload = _any_payload.encode(event.payload)
    except BadOutput as error:
        raise InvalidInput(f"{where} payload", str(error)) from None
    if not payload.startswith(b"{"):
        raise InvalidInput(f"{where} payload", f"is no JSON object but {payload[:30].decode(errors='replace')}")
    message = events_pb2.NewEvent(
        key=event.key,
        payload=payload,
        metadata=encode_metadata(event.metadata) if event.metadata else "",
        scope=event.scope or "",
        priority=0 if event.priority is None else check_priority(event.priority, where),
    )
    if (size := message.ByteSize()) > max_message_bytes - 1024:
        raise InvalidInput(
            f"{where} payload",
            f"is {size / 2**20:.1f} MiB with its metadata; messages hold at most {max_message_bytes / 2**20:.1f} MiB: "
            "store the data elsewhere and push a reference",
        )
    return message
