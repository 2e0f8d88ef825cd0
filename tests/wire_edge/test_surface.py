"""Every method of the contract answers: with an answer, a reasoned refusal, or the word that it is not there yet."""

import asyncio
from typing import Any

import grpc
import pytest

from tests.wire_edge.raw import RawClient, any_id, refusal
from tests.wire_edge.stored import rows_stored
from tests.wire_edge.workers import STARTED, RawWorker
from treadle.testing.engine import EngineProcess
from treadle.wire.contract import METHODS

ANSWER_SECONDS = 15
SERVED = {
    "/Dispatcher/GetVersion",
    "/Dispatcher/Heartbeat",
    "/Dispatcher/Listen",
    "/Dispatcher/ListenV2",
    "/Dispatcher/RefreshTimeout",
    "/Dispatcher/Register",
    "/Dispatcher/ReleaseSlot",
    "/Dispatcher/SendStepActionEvent",
    "/Dispatcher/SubscribeToWorkflowEvents",
    "/Dispatcher/SubscribeToWorkflowRuns",
    "/Dispatcher/Unsubscribe",
    "/Dispatcher/UpsertWorkerLabels",
    "/EventsService/BulkPush",
    "/EventsService/Push",
    "/EventsService/PutLog",
    "/EventsService/PutStreamEvent",
    "/WorkflowService/BulkTriggerWorkflow",
    "/WorkflowService/TriggerWorkflow",
    "/treadle.v1.Events/Push",
    "/treadle.v1.Runs/Await",
    "/treadle.v1.Runs/Cancel",
    "/treadle.v1.Runs/Get",
    "/treadle.v1.Runs/List",
    "/treadle.v1.Runs/Replay",
    "/treadle.v1.Runs/Start",
    "/treadle.v1.Worker/Session",
    "/v1.AdminService/CancelTasks",
    "/v1.AdminService/GetRunDetails",
    "/v1.AdminService/PutWorkflow",
    "/v1.AdminService/ReplayTasks",
    "/v1.AdminService/TriggerWorkflowRun",
}
# Nothing uses it, and the reference does nothing either: answering is as good as refusing.
EITHER = {"/Dispatcher/PutOverridesData"}
NOT_YET = sorted(METHODS.keys() - SERVED - EITHER)


async def outcome(raw: RawClient, path: str) -> Any:
    """The answer to an empty request, or the status it ended with; None when a stream waits for more."""
    try:
        async with asyncio.timeout(1 if METHODS[path].client_streaming else ANSWER_SECONDS):
            return await raw.first_answer(path, raw.new(path))
    except grpc.aio.AioRpcError as error:
        return error
    except TimeoutError:
        assert METHODS[path].client_streaming
        return None


@pytest.mark.parametrize("path", NOT_YET)
async def test_what_is_not_there_yet_says_so(engine: EngineProcess, raw: RawClient, path: str) -> None:
    before = await rows_stored(engine)

    refused = await refusal(raw.first_answer(path, raw.new(path)))

    assert refused.code is grpc.StatusCode.UNIMPLEMENTED
    # What gRPC itself says about a path that nobody serves would tell the caller nothing.
    assert refused.details != "Method not found!"
    assert path.rpartition("/")[2] in refused.details
    assert await rows_stored(engine) == before


@pytest.mark.parametrize("path", sorted(SERVED))
async def test_an_empty_request_gets_an_answer_or_a_reason(raw: RawClient, path: str) -> None:
    result = await outcome(raw, path)

    if isinstance(result, grpc.aio.AioRpcError):
        assert result.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
        assert result.details()


async def test_everything_served_is_in_the_contract() -> None:
    assert METHODS.keys() >= SERVED | EITHER


IDS = {
    "/v1.AdminService/GetRunDetails": "external_id",
    "/Dispatcher/RefreshTimeout": "task_run_external_id",
    "/Dispatcher/ReleaseSlot": "task_run_external_id",
    "/EventsService/PutLog": "task_run_external_id",
    "/EventsService/PutStreamEvent": "task_run_external_id",
    "/Dispatcher/SubscribeToWorkflowEvents": "workflow_run_id",
    "/treadle.v1.Runs/Get": "id",
}
OTHER_FIELDS: dict[str, dict[str, Any]] = {
    "/Dispatcher/RefreshTimeout": {"increment_timeout_by": "10s"},
    "/EventsService/PutLog": {"message": "hello"},
    "/EventsService/PutStreamEvent": {"message": b"hello"},
}


@pytest.mark.parametrize("path", IDS)
async def test_ids_of_nobody_and_ids_that_are_none(engine: EngineProcess, raw: RawClient, path: str) -> None:
    others = OTHER_FIELDS.get(path, {})
    before = await rows_stored(engine)

    unknown = await refusal(raw.first_answer(path, raw.new(path, **{IDS[path]: any_id()}, **others)))
    malformed = await refusal(raw.first_answer(path, raw.new(path, **{IDS[path]: "not-an-id"}, **others)))

    assert unknown.code is grpc.StatusCode.NOT_FOUND
    assert malformed.code is grpc.StatusCode.INVALID_ARGUMENT
    assert IDS[path] in malformed.details
    assert await rows_stored(engine) == before


@pytest.mark.parametrize("duration", ["", "10", "-5s", "1d", "soon"])
async def test_a_bad_duration_is_named(raw: RawClient, task_name: str, duration: str) -> None:
    run_id = await raw.trigger(task_name)

    refused = await refusal(
        raw.call("/Dispatcher/RefreshTimeout", task_run_external_id=run_id, increment_timeout_by=duration)
    )

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "increment_timeout_by" in refused.details


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"metadata": "{"}, "metadata"),
        ({"metadata": "[]"}, "metadata"),
        ({"level": "LOUD"}, "level"),
    ],
)
async def test_a_bad_log_line_is_named(
    engine: EngineProcess, raw: RawClient, task_name: str, fields: dict[str, str], field: str
) -> None:
    async with RawWorker(raw, task_name) as worker:
        run_id = await raw.trigger(task_name)
        await worker.send(await worker.next_action(), STARTED)
        before = await rows_stored(engine)

        refused = await refusal(
            raw.call("/EventsService/PutLog", **({"task_run_external_id": run_id, "message": "hello"} | fields))
        )

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in refused.details
    assert await rows_stored(engine) == before


@pytest.mark.parametrize("method", ["CancelTasks", "ReplayTasks"])
async def test_a_selection_is_checked(raw: RawClient, method: str) -> None:
    path = f"/v1.AdminService/{method}"

    bad_id = await refusal(raw.call(path, external_ids=["not-an-id"]))
    bad_status = await refusal(raw.call(path, filter={"statuses": ["SLEEPING"]}))
    bad_pair = await refusal(raw.call(path, filter={"additional_metadata": ["no colon"]}))
    nothing = await raw.call(path)
    unknown = await raw.call(path, external_ids=[any_id()])

    for refused, field in (
        (bad_id, "external_ids"),
        (bad_status, "statuses"),
        (bad_pair, "additional_metadata"),
    ):
        assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
        assert field in refused.details
    assert nothing.ListFields() == unknown.ListFields() == []
