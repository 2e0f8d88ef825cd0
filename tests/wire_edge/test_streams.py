"""Long streams: quiet ones stay open, bad ids on them harm nobody, and what does not fit is refused early."""

import asyncio
import json

import grpc
import pytest

from tests.wire_edge.raw import RawClient, any_id, refusal
from tests.wire_edge.stored import rows_stored
from tests.wire_edge.workers import COMPLETED, RawWorker
from treadle.testing.engine import EngineProcess

RUNS = "/Dispatcher/SubscribeToWorkflowRuns"
EVENTS = "/Dispatcher/SubscribeToWorkflowEvents"
READ_SECONDS = 15
MESSAGE_LIMIT = 4 * 1024 * 1024


async def test_pings_on_a_quiet_stream_are_welcome(engine: EngineProcess, raw: RawClient, task_name: str) -> None:
    """A server with gRPC's defaults takes the fifth ping without data for abuse and closes the connection.

    Pings every 5.5 s are more than any SDK sends; the stream is watched until after the fifth.
    """
    options = [
        ("grpc.keepalive_time_ms", 5_500),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with RawClient(engine.grpc_address, engine.token, options=options) as client:
        run_id = await raw.trigger(task_name)
        call = client.converse(RUNS)
        await call.write(client.new(RUNS, workflow_run_id=run_id))
        answer = asyncio.ensure_future(call.read())

        done, _ = await asyncio.wait([answer], timeout=29)

        assert not done
        async with RawWorker(raw, task_name) as worker:
            await worker.send(await worker.next_action(), COMPLETED, '{"n": 1}')
        assert (await asyncio.wait_for(answer, READ_SECONDS)).workflow_run_id == run_id
        call.cancel()


async def test_an_unknown_run_does_not_spoil_the_stream_of_results(raw: RawClient, task_name: str) -> None:
    """The SDK keeps all waiters of a process on one stream: an error on it would hit them all."""
    async with RawWorker(raw, task_name) as worker:
        run_id = await raw.trigger(task_name)
        call = raw.converse(RUNS)
        for item in (any_id(), run_id, run_id):
            await call.write(raw.new(RUNS, workflow_run_id=item))
        await worker.send(await worker.next_action(), COMPLETED, '{"n": 1}')

        answer = await asyncio.wait_for(call.read(), READ_SECONDS)
        call.cancel()

    assert answer.workflow_run_id == run_id
    (result,) = answer.results
    assert (result.task_run_external_id, result.task_name, result.output) == (run_id, task_name, '{"n": 1}')
    assert not result.HasField("error")


async def test_the_result_of_a_cancelled_run_has_an_empty_error(raw: RawClient, task_name: str) -> None:
    run_id = await raw.trigger(task_name)
    await raw.call("/v1.AdminService/CancelTasks", external_ids=[run_id])

    call = raw.converse(RUNS)
    await call.write(raw.new(RUNS, workflow_run_id=run_id))
    answer = await asyncio.wait_for(call.read(), READ_SECONDS)
    call.cancel()

    (result,) = answer.results
    assert result.HasField("error")
    assert result.error == ""
    assert not result.HasField("output")


async def test_events_by_metadata_are_not_there_yet(raw: RawClient) -> None:
    refused = await refusal(
        raw.first_answer(EVENTS, raw.new(EVENTS, additional_meta_key="session", additional_meta_value="1"))
    )

    assert refused.code is grpc.StatusCode.UNIMPLEMENTED
    assert "additional_meta_key" in refused.details


async def test_a_stream_of_events_must_say_of_what(raw: RawClient) -> None:
    refused = await refusal(raw.first_answer(EVENTS, raw.new(EVENTS)))

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "workflow_run_id" in refused.details


@pytest.mark.parametrize("spare", [64, 1024, 64 * 1024])
async def test_what_is_accepted_can_be_delivered(
    engine: EngineProcess, raw: RawClient, task_name: str, spare: int
) -> None:
    """An input just below the limit grows on its way to the worker: refused at once, or delivered, never stuck."""
    before = await rows_stored(engine)
    payload = json.dumps({"a": "x" * (MESSAGE_LIMIT - spare - len(task_name) - 32)})
    (outcome,) = await asyncio.gather(raw.trigger(task_name, payload), return_exceptions=True)

    if isinstance(outcome, grpc.aio.AioRpcError):
        assert outcome.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert "input" in (outcome.details() or "")
        assert await rows_stored(engine) == before
        return
    narrow = [("grpc.max_receive_message_length", MESSAGE_LIMIT)]
    async with (
        RawClient(engine.grpc_address, engine.token, options=narrow) as client,
        RawWorker(client, task_name) as worker,
    ):
        action = await worker.next_action()
        assert action.workflow_run_id == outcome
        await worker.send(action, COMPLETED, "{}")


async def test_a_result_near_the_limit_is_pushed(engine: EngineProcess, raw: RawClient, task_name: str) -> None:
    """Or its run fails with a reason; the waiter hears of it either way."""
    output = json.dumps({"a": "x" * (MESSAGE_LIMIT - 2048)})
    narrow = [("grpc.max_receive_message_length", MESSAGE_LIMIT)]
    async with (
        RawClient(engine.grpc_address, engine.token, options=narrow) as client,
        RawWorker(client, task_name) as worker,
    ):
        run_id = await raw.trigger(task_name)
        call = client.converse(RUNS)
        await call.write(client.new(RUNS, workflow_run_id=run_id))
        await worker.send(await worker.next_action(), COMPLETED, output)
        answer = await asyncio.wait_for(call.read(), READ_SECONDS)
        call.cancel()

    (result,) = answer.results
    assert result.output == output or result.error
