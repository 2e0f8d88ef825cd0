"""Triggers that must be refused: the answer names the field, nothing is stored, and neighbours are unharmed."""

import asyncio
import json
from typing import Any, NamedTuple

import grpc
import pytest

from tests.wire_edge.payloads import BAD_JSON, GOOD_JSON
from tests.wire_edge.raw import RawClient, refusal
from tests.wire_edge.stored import rows_stored
from treadle.testing.engine import EngineProcess

TRIGGER = "/WorkflowService/TriggerWorkflow"
BULK = "/WorkflowService/BulkTriggerWorkflow"
TRIGGER_BYTES = "/v1.AdminService/TriggerWorkflowRun"
START = "/treadle.v1.Runs/Start"


class Case(NamedTuple):
    field: str
    fields: dict[str, Any]


BAD_FIELDS = {
    "unknown workflow": Case("name", {"name": "nobody-registered-this"}),
    "no name": Case("name", {"name": ""}),
    "a name that cannot be": Case("name", {"name": "two words!"}),
    "priority too high": Case("priority", {"priority": 4}),
    "priority negative": Case("priority", {"priority": -1}),
    "parent is no id": Case("parent_task_run_external_id", {"parent_task_run_external_id": "mother", "child_index": 0}),
    "metadata cut off": Case("additional_metadata", {"additional_metadata": '{"a": '}),
    "metadata is an array": Case("additional_metadata", {"additional_metadata": "[]"}),
    "metadata with NUL": Case("additional_metadata", {"additional_metadata": '{"a": "\\u0000"}'}),
}


@pytest.mark.parametrize("payload", BAD_JSON.values(), ids=BAD_JSON)
async def test_bad_json_is_refused(engine: EngineProcess, raw: RawClient, task_name: str, payload: str) -> None:
    before = await rows_stored(engine)

    refused = await refusal(raw.call(TRIGGER, name=task_name, input=payload))

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "input" in refused.details
    assert await rows_stored(engine) == before


@pytest.mark.parametrize("payload", GOOD_JSON.values(), ids=GOOD_JSON)
async def test_unusual_json_is_kept_byte_for_byte(raw: RawClient, task_name: str, payload: str) -> None:
    run_id = await raw.trigger(task_name, payload)

    details = await raw.call("/v1.AdminService/GetRunDetails", external_id=run_id)

    assert details.input == payload.encode()


@pytest.mark.parametrize("case", BAD_FIELDS.values(), ids=BAD_FIELDS)
async def test_a_bad_field_is_named(engine: EngineProcess, raw: RawClient, task_name: str, case: Case) -> None:
    before = await rows_stored(engine)

    refused = await refusal(raw.call(TRIGGER, **({"name": task_name, "input": "{}"} | case.fields)))

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert case.field in refused.details
    assert await rows_stored(engine) == before


async def test_a_child_key_with_nul_is_named(engine: EngineProcess, raw: RawClient, task_name: str) -> None:
    parent = await raw.trigger(task_name)
    before = await rows_stored(engine)

    refused = await refusal(
        raw.trigger(task_name, parent_task_run_external_id=parent, child_index=0, child_key="a\x00b")
    )

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "child_key" in refused.details
    assert await rows_stored(engine) == before


async def test_bytes_that_are_no_text_are_refused(engine: EngineProcess, raw: RawClient, task_name: str) -> None:
    before = await rows_stored(engine)

    refused = await refusal(raw.call(TRIGGER_BYTES, workflow_name=task_name, input=b'{"a": "\xff"}'))
    unknown = await refusal(raw.call(TRIGGER_BYTES, workflow_name="nobody-registered-this", input=b"{}"))

    assert refused.code is unknown.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "input" in refused.details
    assert "name" in unknown.details
    assert await rows_stored(engine) == before


async def test_five_megabytes_are_refused(engine: EngineProcess, raw: RawClient, task_name: str) -> None:
    before = await rows_stored(engine)

    refused = await refusal(raw.call(TRIGGER, name=task_name, input=json.dumps({"a": "x" * 5_000_000})))

    # The transport refuses it before anyone can look at fields; it tells both sizes.
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(4 * 1024 * 1024) in refused.details
    assert await rows_stored(engine) == before
    await raw.trigger(task_name)


async def test_a_bulk_with_a_bad_item_stores_nothing_and_names_the_item(
    engine: EngineProcess, raw: RawClient, task_name: str
) -> None:
    before = await rows_stored(engine)
    items = [{"name": task_name, "input": "{}"} for _ in range(5)]
    items[3]["input"] = '{"a": '

    refused = await refusal(raw.call(BULK, workflows=items))

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "workflows[3].input" in refused.details
    assert await rows_stored(engine) == before


async def test_a_bulk_may_hold_a_thousand_and_no_more(engine: EngineProcess, raw: RawClient, task_name: str) -> None:
    item = {"name": task_name, "input": "{}"}

    accepted = await raw.call(BULK, workflows=[item] * 1000)
    before = await rows_stored(engine)
    refused = await refusal(raw.call(BULK, workflows=[item] * 1001))

    assert len(set(accepted.workflow_run_ids)) == 1000
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "workflows" in refused.details
    assert await rows_stored(engine) == before


async def test_callers_of_the_same_moment_are_unharmed(raw: RawClient, task_name: str) -> None:
    """Good and bad ones at once: they share commits, not fates."""
    bad = list(BAD_JSON.values())
    calls = [raw.trigger(task_name, '{"n": 1}' if number % 2 else bad[number // 2 % len(bad)]) for number in range(100)]

    answers = await asyncio.gather(*calls, return_exceptions=True)

    good = [answer for answer in answers[1::2] if isinstance(answer, str)]
    assert len(set(good)) == 50
    assert all(isinstance(answer, grpc.aio.AioRpcError) for answer in answers[::2])


async def test_each_item_of_a_start_has_its_own_outcome(engine: EngineProcess, raw: RawClient, task_name: str) -> None:
    good = {"task": task_name, "input": b'{"n": 1}'}
    before = (await rows_stored(engine)).get("task", 0)

    answer = await raw.call(
        START,
        runs=[
            good,
            good | {"task": "nobody-registered-this"},
            good | {"input": b'{"a": '},
            good | {"input": b'{"a": "\\u0000"}'},
            good | {"input": b"[1]"},
            good,
            good | {"metadata": "[]"},
            good | {"priority": 9},
            good | {"parent_task_id": "mother"},
            good,
        ],
    )

    outcomes = [
        outcome.problem.field if outcome.WhichOneof("outcome") == "problem" else "ok" for outcome in answer.outcomes
    ]
    assert outcomes == [
        "ok",
        "runs[1].task",
        "runs[2].input",
        "runs[3].input",
        "runs[4].input",
        "ok",
        "runs[6].metadata",
        "runs[7].priority",
        "runs[8].parent_task_id",
        "ok",
    ]
    problems = [outcome.problem for outcome in answer.outcomes if outcome.WhichOneof("outcome") == "problem"]
    assert all(problem.message for problem in problems)
    assert {problem.code for problem in problems} <= {
        grpc.StatusCode.INVALID_ARGUMENT.value[0],
        grpc.StatusCode.NOT_FOUND.value[0],
    }
    assert (await rows_stored(engine))["task"] == before + 3
