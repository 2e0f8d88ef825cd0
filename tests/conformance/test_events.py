"""Events pushed by the official SDK meet tasks that wait for them; the answers are what the SDK makes of them."""

import asyncio
import time

import pytest
from hatchet_sdk import Hatchet
from hatchet_sdk.clients.events import BulkPushEventWithMetadata
from hatchet_sdk.types.priority import Priority

from tests.conformance.harness import Lab
from tests.wire_edge.raw import RawClient
from tests.wire_edge.waits import waiting
from treadle.model.ids import is_id
from treadle.wire.claims import read_claims


async def test_push(lab: Lab, raw: RawClient, hatchet: Hatchet) -> None:
    async with waiting(raw) as waits:
        run_id = await waits.begin_to_wait()
        event = await asyncio.to_thread(
            hatchet.event.push,
            waits.key,
            {"n": 1},
            additional_metadata={"source": "test"},
            priority=Priority.MEDIUM,
            scope="s",
        )
        assert await waits.met_by(run_id) == {"n": 1}
    assert is_id(event.event_id)
    assert (event.tenant_id, event.key, event.payload) == (
        read_claims(lab.engine.token).tenant_id,
        waits.key,
        '{"n": 1}',
    )
    assert (event.additional_metadata, event.scope) == ('{"source": "test"}', "s")
    assert abs(event.seen_at.timestamp() - time.time()) < 60


async def test_aio_push(raw: RawClient, hatchet: Hatchet) -> None:
    async with waiting(raw) as waits:
        run_id = await waits.begin_to_wait()
        event = await hatchet.event.aio_push(waits.key, {"n": 2})
        assert await waits.met_by(run_id) == {"n": 2}
    assert event.scope is None


async def test_bulk_push(raw: RawClient, hatchet: Hatchet) -> None:
    async with waiting(raw, expression="input.n == 3 && additional_metadata.source == 'bulk'") as waits:
        run_id = await waits.begin_to_wait()
        events = [
            BulkPushEventWithMetadata(key=waits.key, payload={"n": n}, additional_metadata={"source": "bulk"})
            for n in range(5)
        ]
        pushed = await asyncio.to_thread(hatchet.event.bulk_push, events)
        assert await waits.met_by(run_id) == {"n": 3}
        again = await waits.begin_to_wait()
        also = await hatchet.event.aio_bulk_push(events)
        assert await waits.met_by(again) == {"n": 3}
    ids = [event.event_id for event in (*pushed, *also)]
    assert ids == sorted(set(ids))
    assert len(ids) == 10


async def test_what_the_sdk_pushes_badly_is_told(raw: RawClient, hatchet: Hatchet) -> None:
    async with waiting(raw) as waits:
        run_id = await waits.begin_to_wait()
        with pytest.raises(Exception, match="payload: holds the NUL character"):
            await hatchet.event.aio_push(waits.key, {"text": "a\x00b"})
        assert await waits.still_waits(run_id)
        await hatchet.event.aio_push(waits.key, {})
        assert await waits.met_by(run_id) == {}
