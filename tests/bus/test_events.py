"""Events that come in at an engine which does not own the tenant."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from tests.bus.engines import Engines, running
from treadle.model.states import RunStatus
from treadle.wire.gen.hatchet import events_pb2
from treadle.wire.gen.hatchet.v1 import workflows_pb2
from treadle.wire.gen.hatchet.v1.shared import condition_pb2
from treadle.wire.gen.treadle.v1 import events_pb2 as own

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.chaos.raw import RawClient


@pytest.fixture
async def engines(database_url: str, tmp_path: Path) -> AsyncIterator[Engines]:
    async with running(database_url, tmp_path) as engines:
        yield engines


async def push(client: RawClient, *events: own.NewEvent) -> list[own.PushOutcome]:
    response = await client.call("/treadle.v1.Events/Push", own.PushRequest(events=events), own.PushResponse)
    return list(response.outcomes)


async def put_waiting(client: RawClient, name: str, key: str) -> None:
    """Register a workflow of one task that waits for an event of this key, with some scope and metadata."""
    base = condition_pb2.BaseMatchCondition(
        readable_data_key="it",
        action=condition_pb2.QUEUE,
        or_group_id="a",
        expression="additional_metadata.source == 'far'",
    )
    event = condition_pb2.UserEventMatchCondition(base=base, user_event_key=key, event_scope="s")
    task = workflows_pb2.CreateTaskOpts(
        readable_id=name,
        action=f"{name}:{name}",
        timeout="5m",
        inputs="{}",
        conditions=condition_pb2.TaskConditions(user_event_conditions=[event]),
    )
    request = workflows_pb2.CreateWorkflowVersionRequest(name=name, tasks=[task])
    await client.call("/v1.AdminService/PutWorkflow", request, workflows_pb2.CreateWorkflowVersionResponse)


async def test_an_event_pushed_elsewhere_is_stored_and_meets(engines: Engines) -> None:
    owner, other = await engines.apart()
    near, far = engines.client(owner), engines.client(other)
    await put_waiting(near, "waits", "go")
    worker = await engines.worker(far, "waits:waits")
    [run_id] = await near.start("waits", "{}")
    outcomes = await push(
        far,
        own.NewEvent(key="go", payload=b'{"n": 1}', scope="s"),
        own.NewEvent(key="go", payload=b"[]"),
        own.NewEvent(key="go", payload=b'{"n": 2}', scope="other", metadata='{"source": "far"}'),
        own.NewEvent(key="go", payload=b'{"n": 3}', scope="s", metadata='{"source": "far"}', priority=2),
    )
    assert [outcome.WhichOneof("outcome") for outcome in outcomes] == ["event_id", "problem", "event_id", "event_id"]
    ids = [outcome.event_id for outcome in outcomes if outcome.event_id]
    assert ids == sorted(ids)
    assert await engines.value("SELECT array_agg(id::text ORDER BY id) FROM treadle.event") == ids
    assert await engines.value("SELECT priority FROM treadle.event WHERE id::text = $1", ids[-1]) == 2
    task_id = await engines.value("SELECT id::text FROM treadle.task WHERE run_id::text = $1", run_id)
    delivery = await worker.receive(task_id)
    assert json.loads(delivery.triggers) == {"it": {"n": 3}}
    await worker.complete(task_id, delivery.attempt)
    assert (await near.ended(run_id))[0] is RunStatus.COMPLETED


async def test_a_bulk_of_the_official_contract_crosses_the_link(engines: Engines) -> None:
    _, other = await engines.apart()
    far = engines.client(other)
    events = [events_pb2.PushEventRequest(key="k", payload=json.dumps({"n": n})) for n in range(1000)]
    pushed = await far.call(
        "/EventsService/BulkPush", events_pb2.BulkPushEventRequest(events=events), events_pb2.Events
    )
    ids = [event.event_id for event in pushed.events]
    assert await engines.value("SELECT array_agg(id::text ORDER BY id) FROM treadle.event") == ids
    events[500].payload = "{"
    with pytest.raises(grpc.aio.AioRpcError, match=r"events\[500\]\.payload"):
        await far.call("/EventsService/BulkPush", events_pb2.BulkPushEventRequest(events=events), events_pb2.Events)
    assert await engines.value("SELECT count(*) FROM treadle.event") == 1000


async def test_what_was_answered_is_stored_while_the_owner_is_replaced(engines: Engines) -> None:
    """A push that was on its way to an owner which went away is told so, as any call is, and tried again."""
    owner, other = await engines.apart()
    far = engines.client(other)

    async def push_one(n: int) -> str:
        try:
            [outcome] = await push(far, own.NewEvent(key="k", payload=json.dumps({"n": n}).encode()))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return await push_one(n)
        if outcome.WhichOneof("outcome") == "problem":
            assert outcome.problem.code == grpc.StatusCode.UNAVAILABLE.value[0]
            return await push_one(n)
        return outcome.event_id

    async def push_many(first: int) -> dict[int, str]:
        return {n: await push_one(n) for n in range(first, first + 50)}

    *answers, _ = await asyncio.gather(*(push_many(first) for first in (0, 50, 100)), owner.stop())
    stored = json.loads(
        await engines.value("SELECT json_object_agg(id, convert_from(payload, 'UTF8')::json -> 'n') FROM treadle.event")
    )
    for answered in answers:
        assert isinstance(answered, dict)
        assert {n: stored[event_id] for n, event_id in answered.items()} == {n: n for n in answered}
