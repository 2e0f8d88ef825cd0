"""Events over both contracts: what is bad is refused by name with nothing stored, what is good is stored as it came."""

import asyncio
import json
from typing import Any, NamedTuple

import asyncpg
import grpc
import pytest

from tests.wire_edge.payloads import BAD_JSON, GOOD_JSON
from tests.wire_edge.raw import RawClient, any_id, refusal
from tests.wire_edge.stored import rows_stored
from treadle.model.ids import is_id, time_of
from treadle.testing.engine import EngineProcess

PUSH = "/EventsService/Push"
BULK = "/EventsService/BulkPush"
OWN = "/treadle.v1.Events/Push"

GOOD = {"key": "order:paid", "payload": '{"n": 1}'}


class Case(NamedTuple):
    field: str
    fields: dict[str, Any]


BAD_FIELDS = {
    "no key": Case("key", {"key": ""}),
    "a blank key": Case("key", {"key": "  "}),
    "a key too long": Case("key", {"key": "k" * 1025}),
    "a key with NUL": Case("key", {"key": "a\x00b"}),
    "priority too high": Case("priority", {"priority": 4}),
    "priority negative": Case("priority", {"priority": -1}),
    "a scope too long": Case("scope", {"scope": "s" * 1025}),
    "a scope with NUL": Case("scope", {"scope": "a\x00b"}),
    "metadata cut off": Case("additional_metadata", {"additional_metadata": '{"a": '}),
    "metadata is an array": Case("additional_metadata", {"additional_metadata": "[]"}),
    "metadata with NUL": Case("additional_metadata", {"additional_metadata": '{"a": "\\u0000"}'}),
    "a time that cannot be": Case("event_timestamp", {"event_timestamp": {"seconds": 2**60}}),
}


async def stored(engine: EngineProcess, event_id: str) -> asyncpg.Record:
    conn = await asyncpg.connect(engine.database_url)
    try:
        row = await conn.fetchrow("SELECT * FROM treadle.event WHERE id = $1::text::uuid", event_id)
    finally:
        await conn.close()
    assert row is not None
    return row


async def test_an_event_is_answered_and_stored_as_it_came(engine: EngineProcess, raw: RawClient, tenant: str) -> None:
    sent = {
        "key": "order:paid ✓",
        "payload": '{"n": 1, "text": "ü"}',
        "additional_metadata": '{"source": "shop"}',
        "scope": "customer-7",
        "priority": 3,
        "event_timestamp": {"seconds": 1_000_000_000},
    }

    answer = await raw.call(PUSH, **sent)

    assert (answer.tenant_id, answer.key, answer.payload) == (tenant, sent["key"], sent["payload"])
    assert (answer.additional_metadata, answer.scope) == (sent["additional_metadata"], sent["scope"])
    assert is_id(answer.event_id)
    # The caller's clock has no say in when it was.
    assert answer.event_timestamp.ToMicroseconds() == round(time_of(answer.event_id) * 1_000_000)
    row = await stored(engine, answer.event_id)
    assert (row["key"], row["payload"].decode(), row["scope"]) == (sent["key"], sent["payload"], sent["scope"])
    assert (row["metadata"], row["priority"]) == (sent["additional_metadata"], 3)
    assert abs(row["at"].timestamp() - time_of(answer.event_id)) < 0.001


async def test_what_may_be_missing(engine: EngineProcess, raw: RawClient) -> None:
    answer = await raw.call(PUSH, key="bare")

    assert answer.payload == "{}"
    assert not answer.HasField("scope")
    assert not answer.HasField("additional_metadata")
    row = await stored(engine, answer.event_id)
    assert (row["payload"], row["scope"], row["metadata"], row["priority"]) == (b"{}", None, None, None)


@pytest.mark.parametrize("payload", BAD_JSON.values(), ids=BAD_JSON)
async def test_bad_json_is_refused(engine: EngineProcess, raw: RawClient, payload: str) -> None:
    before = await rows_stored(engine)

    refused = await refusal(raw.call(PUSH, key="k", payload=payload))

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.details.startswith("payload: ")
    assert await rows_stored(engine) == before


@pytest.mark.parametrize("payload", GOOD_JSON.values(), ids=GOOD_JSON)
async def test_unusual_json_is_kept_byte_for_byte(engine: EngineProcess, raw: RawClient, payload: str) -> None:
    answer = await raw.call(PUSH, key="k", payload=payload)

    assert answer.payload == payload
    assert (await stored(engine, answer.event_id))["payload"].decode() == payload


@pytest.mark.parametrize("case", BAD_FIELDS.values(), ids=BAD_FIELDS)
async def test_a_bad_field_is_named(engine: EngineProcess, raw: RawClient, case: Case) -> None:
    before = await rows_stored(engine)

    refused = await refusal(raw.call(PUSH, **(GOOD | case.fields)))
    of_many = await refusal(raw.call(BULK, events=[GOOD, GOOD | case.fields, GOOD]))

    assert refused.code is of_many.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.details.startswith(f"{case.field}: ")
    assert of_many.details == f"events[1].{refused.details}"
    assert await rows_stored(engine) == before


async def test_five_megabytes_are_refused(engine: EngineProcess, raw: RawClient) -> None:
    before = await rows_stored(engine)

    by_transport = await refusal(raw.call(PUSH, key="k", payload=json.dumps({"a": "x" * 5_000_000})))
    # It fits into the message, but would not fit into the one that takes it to a worker.
    by_field = await refusal(raw.call(PUSH, key="k", payload=json.dumps({"a": "x" * (4 * 1024 * 1024 - 1000)})))

    assert by_transport.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert by_field.code is grpc.StatusCode.INVALID_ARGUMENT
    assert by_field.details.startswith("payload: is ")
    assert await rows_stored(engine) == before


async def test_a_bulk_may_hold_a_thousand_and_no_more(engine: EngineProcess, raw: RawClient) -> None:
    before = await rows_stored(engine)

    accepted = await raw.call(BULK, events=[GOOD | {"payload": json.dumps({"n": n})} for n in range(1000)])
    refused = await refusal(raw.call(BULK, events=[GOOD] * 1001))
    none = await refusal(raw.call(BULK))
    own = await refusal(raw.call(OWN, events=[{"key": "k"}] * 1001))

    ids = [event.event_id for event in accepted.events]
    assert ids == sorted(set(ids))
    assert [json.loads(event.payload)["n"] for event in accepted.events] == list(range(1000))
    assert (await rows_stored(engine))["event"] == before.get("event", 0) + 1000
    for each in (refused, none, own):
        assert each.code is grpc.StatusCode.INVALID_ARGUMENT
        assert each.details.startswith("events: must hold 1 to 1000 events, not ")


async def test_each_item_of_our_own_push_has_its_own_outcome(engine: EngineProcess, raw: RawClient) -> None:
    good = {"key": "k", "payload": b'{"n": 1}'}
    before = (await rows_stored(engine)).get("event", 0)

    answer = await raw.call(
        OWN,
        events=[
            good,
            good | {"key": ""},
            good | {"payload": b'{"a": '},
            good | {"payload": b'{"a": "\xff"}'},
            good | {"payload": b"[1]"},
            {"key": "empty"},
            good | {"metadata": "[]"},
            good | {"priority": 9},
            good | {"scope": "s" * 1025},
            good | {"metadata": '{"a": 1}', "scope": "s", "priority": 2},
        ],
    )

    outcomes = [
        outcome.problem.field if outcome.WhichOneof("outcome") == "problem" else "ok" for outcome in answer.outcomes
    ]
    assert outcomes == [
        "ok",
        "events[1].key",
        "events[2].payload",
        "events[3].payload",
        "events[4].payload",
        "ok",
        "events[6].metadata",
        "events[7].priority",
        "events[8].scope",
        "ok",
    ]
    problems = [outcome.problem for outcome in answer.outcomes if outcome.WhichOneof("outcome") == "problem"]
    assert {problem.code for problem in problems} == {grpc.StatusCode.INVALID_ARGUMENT.value[0]}
    assert all(problem.message for problem in problems)
    assert (await rows_stored(engine))["event"] == before + 3
    row = await stored(engine, answer.outcomes[9].event_id)
    assert (row["metadata"], row["scope"], row["priority"]) == ('{"a": 1}', "s", 2)


async def test_callers_of_the_same_moment_are_unharmed(engine: EngineProcess, raw: RawClient) -> None:
    """Good and bad ones at once: they share commits, not fates."""
    before = (await rows_stored(engine)).get("event", 0)
    bad = list(BAD_JSON.values())
    calls = [
        raw.call(PUSH, key="k", payload='{"n": 1}' if number % 2 else bad[number // 2 % len(bad)])
        for number in range(100)
    ]

    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert len({answer.event_id for answer in answers[1::2] if not isinstance(answer, BaseException)}) == 50
    assert all(isinstance(answer, grpc.aio.AioRpcError) for answer in answers[::2])
    assert (await rows_stored(engine))["event"] == before + 50


async def test_events_are_not_replayed(raw: RawClient) -> None:
    """As in the reference engine, which does not serve it either."""
    refused = await refusal(raw.call("/EventsService/ReplaySingleEvent", event_id=any_id()))

    assert refused.code is grpc.StatusCode.UNIMPLEMENTED
