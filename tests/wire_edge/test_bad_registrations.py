"""Registrations that must be refused: an SDK ends its worker over one, so the message has to say what is wrong."""

from typing import Any, NamedTuple

import grpc
import pytest

from tests.wire_edge.raw import RawClient, any_id, refusal
from tests.wire_edge.stored import rows_stored
from treadle.testing.engine import EngineProcess

PUT = "/v1.AdminService/PutWorkflow"
REGISTER = "/Dispatcher/Register"


class Case(NamedTuple):
    field: str
    fields: dict[str, Any]


def task(**fields: Any) -> dict[str, Any]:
    return {"readable_id": "work", "action": "refused:work", "timeout": "60s"} | fields


def with_task(**fields: Any) -> dict[str, Any]:
    return {"tasks": [task(), task(readable_id="bad", action="refused:bad", **fields)]}


BAD_WORKFLOWS = {
    "no name": Case("name", {"name": ""}),
    "a name with a space": Case("name", {"name": "two words"}),
    "a name with a colon": Case("name", {"name": "a:b"}),
    "a name beyond ASCII": Case("name", {"name": "naïve"}),
    "no tasks": Case("tasks", {"tasks": []}),
    "bad task name": Case("tasks[0].readable_id", {"tasks": [task(readable_id="a b")]}),
    "the same task twice": Case("tasks[1].readable_id", {"tasks": [task(), task()]}),
    "bad action": Case("tasks[0].action", {"tasks": [task(action="no-colon")]}),
    "a duration without a unit": Case("tasks[1].timeout", with_task(timeout="10")),
    "a duration with a sign": Case("tasks[1].timeout", with_task(timeout="-10s")),
    "a duration in days": Case("tasks[1].timeout", with_task(timeout="1d")),
    "a duration in words": Case("tasks[1].timeout", with_task(timeout="ten seconds")),
    "a schedule timeout in weeks": Case("tasks[1].schedule_timeout", with_task(schedule_timeout="2w")),
    "negative retries": Case("tasks[1].retries", with_task(retries=-1)),
    "a factor below one": Case("tasks[1].backoff_factor", with_task(backoff_factor=0.5)),
    "a factor too large": Case("tasks[1].backoff_factor", with_task(backoff_factor=1001)),
    "a maximum of nothing": Case("tasks[1].backoff_max_seconds", with_task(backoff_max_seconds=0)),
    "a maximum beyond a day": Case("tasks[1].backoff_max_seconds", with_task(backoff_max_seconds=86_401)),
    "an unknown parent": Case("tasks[1].parents", with_task(parents=["nobody"])),
    "its own parent": Case("tasks", with_task(parents=["bad"])),
    "a circle": Case(
        "tasks",
        {
            "tasks": [
                task(readable_id="a", action="refused:a", parents=["b"]),
                task(readable_id="b", action="refused:b", parents=["a"]),
            ]
        },
    ),
    "slots of nothing": Case("tasks[1].slot_requests", with_task(slot_requests={"default": 0})),
    "bad cron": Case("cron_triggers[1]", {"cron_triggers": ["0 * * * *", "every day"]}),
    "cron out of range": Case("cron_triggers[0]", {"cron_triggers": ["61 * * * *"]}),
    "cron input cut off": Case("cron_input", {"cron_triggers": ["0 * * * *"], "cron_input": '{"a": '}),
    "an event key of nothing": Case("event_triggers[0]", {"event_triggers": [""]}),
    "priority too high": Case("default_priority", {"default_priority": 4}),
    "concurrency of nothing": Case("concurrency", {"concurrency": {"expression": "input.key", "max_runs": 0}}),
    "concurrency by bad CEL": Case("concurrency[0]", {"concurrency_arr": [{"expression": "input.("}]}),
    "rate limit by bad CEL": Case(
        "tasks[1].rate_limits[0]",
        with_task(rate_limits=[{"key": "k", "key_expr": "))", "limit_values_expr": "10"}]),
    ),
    "filter by bad CEL": Case("default_filters[0]", {"default_filters": [{"expression": "&&", "scope": "s"}]}),
    "idempotency by bad CEL": Case("idempotency", {"idempotency": {"expression": "input.", "ttl_ms": 1000}}),
    "a schema that is no JSON": Case("input_json_schema", {"input_json_schema": b"{"}),
    "NUL in the description": Case("description", {"description": "a\x00b"}),
}


@pytest.mark.parametrize("case", BAD_WORKFLOWS.values(), ids=BAD_WORKFLOWS)
async def test_a_bad_workflow_is_refused(engine: EngineProcess, raw: RawClient, case: Case) -> None:
    before = await rows_stored(engine)

    refused = await refusal(raw.call(PUT, **({"name": "refused", "tasks": [task()]} | case.fields)))

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert case.field in refused.details
    assert await rows_stored(engine) == before


BAD_WORKERS = {
    "slots both ways": Case("slot", {"slots": 5, "slot_config": {"default": 5}}),
    "slots negative": Case("slot", {"slots": -1}),
    "a slot type with a negative count": Case("slot_config", {"slot_config": {"default": -5}}),
    "no name": Case("worker_name", {"worker_name": ""}),
    "a name with NUL": Case("worker_name", {"worker_name": "a\x00b"}),
    "an action of nothing": Case("actions", {"actions": [""], "slot_config": {"default": 5}}),
}


@pytest.mark.parametrize("case", BAD_WORKERS.values(), ids=BAD_WORKERS)
async def test_a_bad_worker_is_refused(engine: EngineProcess, raw: RawClient, case: Case) -> None:
    before = await rows_stored(engine)

    refused = await refusal(raw.call(REGISTER, **({"worker_name": "refused", "actions": ["a:b"]} | case.fields)))

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert case.field in refused.details
    assert await rows_stored(engine) == before


async def test_a_worker_may_come_in_the_old_form(raw: RawClient) -> None:
    by_slots = await raw.call(REGISTER, worker_name="old", actions=["a:b"], slots=3)
    by_nothing = await raw.call(REGISTER, worker_name="older", actions=["a:b"])

    assert by_slots.worker_id != by_nothing.worker_id
    assert (by_slots.worker_name, by_nothing.worker_name) == ("old", "older")


@pytest.mark.parametrize("path", ["/Dispatcher/Heartbeat", "/Dispatcher/ListenV2", "/Dispatcher/Unsubscribe"])
async def test_a_worker_nobody_registered(raw: RawClient, path: str) -> None:
    unknown = await refusal(raw.first_answer(path, raw.new(path, worker_id=any_id())))
    malformed = await refusal(raw.first_answer(path, raw.new(path, worker_id="not-an-id")))

    assert unknown.code is grpc.StatusCode.NOT_FOUND
    assert malformed.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "worker_id" in unknown.details
    assert "worker_id" in malformed.details


async def test_a_heartbeat_without_a_stream_says_so(raw: RawClient) -> None:
    """The SDK opens its stream again when it hears this code."""
    worker = await raw.call(REGISTER, worker_name="deaf", actions=["a:b"], slots=3)

    refused = await refusal(raw.call("/Dispatcher/Heartbeat", worker_id=worker.worker_id))

    assert refused.code is grpc.StatusCode.FAILED_PRECONDITION


async def test_the_same_definition_again_is_the_same_version(engine: EngineProcess, raw: RawClient) -> None:
    definition = {"name": f"same-{any_id()}", "tasks": [task(retries=1)]}

    first = await raw.call(PUT, **definition)
    before = await rows_stored(engine)
    again = await raw.call(PUT, **definition)
    assert await rows_stored(engine) == before
    changed = await raw.call(PUT, **(definition | {"tasks": [task(retries=2)]}))
    back = await raw.call(PUT, **definition)

    assert (again.id, again.workflow_id) == (first.id, first.workflow_id)
    assert changed.workflow_id == first.workflow_id
    assert changed.id != first.id
    assert back.workflow_id == first.workflow_id
