"""Reports of workers of the Hatchet contract: repeated ones, late ones, odd ones."""

import asyncio
from typing import Any

import grpc
import pytest

from tests.wire_edge.raw import RawClient, any_id, refusal
from tests.wire_edge.stored import rows_stored
from tests.wire_edge.workers import ACKNOWLEDGED, CANCEL_STEP_RUN, COMPLETED, FAILED, STARTED, RawWorker
from treadle.testing.engine import EngineProcess

QUEUED, RUNNING, DONE, BROKEN, CANCELLED = range(5)


async def details(raw: RawClient, run_id: str) -> Any:
    return await raw.call("/v1.AdminService/GetRunDetails", external_id=run_id)


async def test_starting_twice_and_acknowledging_change_nothing(raw: RawClient, task_name: str) -> None:
    async with RawWorker(raw, task_name) as worker:
        run_id = await raw.trigger(task_name)
        action = await worker.next_action()
        for event in (ACKNOWLEDGED, STARTED, STARTED, ACKNOWLEDGED):
            await worker.send(action, event)
        assert (await details(raw, run_id)).status == RUNNING

        await worker.send(action, COMPLETED, '{"n": 1}')
        await worker.send(action, STARTED)

    found = await details(raw, run_id)
    assert (found.status, found.done) == (DONE, True)
    assert found.task_runs[task_name].output == b'{"n": 1}'


async def test_the_first_end_counts(engine: EngineProcess, raw: RawClient, task_name: str) -> None:
    async with RawWorker(raw, task_name) as worker:
        run_id = await raw.trigger(task_name)
        action = await worker.next_action()
        await worker.send(action, COMPLETED, '{"n": 1}')
        before = await rows_stored(engine)

        await worker.send(action, COMPLETED, '{"n": 2}')
        await worker.send(action, FAILED, "Late: too late")

        assert await rows_stored(engine) == before
    found = await details(raw, run_id)
    assert found.status == DONE
    assert found.task_runs[task_name].output == b'{"n": 1}'
    assert not found.task_runs[task_name].error


async def test_reports_of_an_older_attempt_change_nothing(raw: RawClient) -> None:
    name = f"edge-{any_id()}"
    await raw.register_workflow(name, retries=1)
    async with RawWorker(raw, name) as worker:
        run_id = await raw.trigger(name)
        first = await worker.next_action()
        await worker.send(first, FAILED, "Error: once")
        second = await worker.next_action()
        assert (first.retry_count, second.retry_count) == (0, 1)
        assert first.task_run_external_id == second.task_run_external_id == run_id

        await worker.send(first, COMPLETED, '{"from": "the first"}')
        await worker.send(first, FAILED, "Error: the first again")
        assert (await details(raw, run_id)).status == RUNNING

        await worker.send(second, COMPLETED, '{"from": "the second"}')

    assert (await details(raw, run_id)).task_runs[name].output == b'{"from": "the second"}'


async def test_a_report_without_a_count_is_about_the_current_attempt(raw: RawClient) -> None:
    name = f"edge-{any_id()}"
    await raw.register_workflow(name, retries=1)
    async with RawWorker(raw, name) as worker:
        run_id = await raw.trigger(name)
        await worker.send(await worker.next_action(), FAILED, "Error: once", retry_count=None)
        second = await worker.next_action()
        await worker.send(second, COMPLETED, '{"n": 2}', retry_count=None)

    assert (await details(raw, run_id)).status == DONE


async def test_a_worker_may_sign_with_its_name(raw: RawClient, task_name: str) -> None:
    """The TypeScript SDK puts its name where others put their id."""
    async with RawWorker(raw, task_name) as worker:
        run_id = await raw.trigger(task_name)
        action = await worker.next_action()
        await worker.send(action, STARTED, '""', worker_id=worker.name)
        await worker.send(action, COMPLETED, "null", worker_id=worker.name)

    assert (await details(raw, run_id)).status == DONE


@pytest.mark.parametrize(
    "output",
    [
        pytest.param("{", id="cut off"),
        pytest.param('{"a": "\\u0000"}', id="NUL escaped"),
        pytest.param('{"a": "\x00"}', id="NUL raw"),
        pytest.param('{"a": NaN}', id="NaN"),
        pytest.param('{"a": "\\ud800"}', id="a lone surrogate"),
    ],
)
async def test_an_output_that_cannot_be_kept_is_a_failure(raw: RawClient, task_name: str, output: str) -> None:
    """The worker cannot do better by sending it again, so the report is accepted and the attempt fails."""
    async with RawWorker(raw, task_name) as worker:
        run_id = await raw.trigger(task_name)
        await worker.send(await worker.next_action(), COMPLETED, output)

    found = await details(raw, run_id)
    assert found.status == BROKEN
    assert "output" in found.task_runs[task_name].error


async def test_an_error_with_nul_is_still_a_failure(raw: RawClient, task_name: str) -> None:
    async with RawWorker(raw, task_name) as worker:
        run_id = await raw.trigger(task_name)
        await worker.send(await worker.next_action(), FAILED, "Error: a\x00b")

    found = await details(raw, run_id)
    assert found.status == BROKEN
    assert found.task_runs[task_name].error.startswith("Error: a")


async def test_a_report_about_nobody_is_refused(engine: EngineProcess, raw: RawClient, task_name: str) -> None:
    """With a code that keeps the SDK from sending it twenty times."""
    async with RawWorker(raw, task_name) as worker:
        await raw.trigger(task_name)
        action = await worker.next_action()
        before = await rows_stored(engine)

        unknown = await refusal(worker.send(action, COMPLETED, "{}", task_run_external_id=any_id()))
        malformed = await refusal(worker.send(action, COMPLETED, "{}", task_run_external_id="nobody"))
        no_event = await refusal(worker.send(action, 0))

        assert await rows_stored(engine) == before
    for refused, field in (
        (unknown, "task_run_external_id"),
        (malformed, "task_run_external_id"),
        (no_event, "event_type"),
    ):
        assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
        assert field in refused.details


async def test_a_cancel_reaches_the_worker(raw: RawClient, task_name: str) -> None:
    async with RawWorker(raw, task_name) as worker:
        run_id = await raw.trigger(task_name)
        action = await worker.next_action()
        await worker.send(action, STARTED)

        await raw.call("/v1.AdminService/CancelTasks", external_ids=[run_id])
        cancel = await worker.next_action()

        assert cancel.action_type == CANCEL_STEP_RUN
        assert (cancel.task_run_external_id, cancel.retry_count) == (run_id, 0)
        await worker.send(action, COMPLETED, '{"n": 1}')  # it did not listen; nobody listens to it either

    found = await details(raw, run_id)
    assert found.status == CANCELLED
    assert not found.task_runs[task_name].output


async def test_a_worker_that_listens_again_goes_on(raw: RawClient, task_name: str) -> None:
    async with RawWorker(raw, task_name) as worker:
        before = await raw.trigger(task_name)
        action = await worker.next_action()
        await worker.send(action, STARTED)
        await worker.listen()
        after = await raw.trigger(task_name)
        second = await worker.next_action()

        assert second.task_run_external_id == after
        for each in (action, second):
            await worker.send(each, COMPLETED, "{}")

    assert {(await details(raw, run_id)).status for run_id in (before, after)} == {DONE}


async def test_an_unacknowledged_delivery_is_made_again(raw: RawClient, task_name: str) -> None:
    """The stream broke before the worker could say STARTED: it may never have seen the action."""
    async with RawWorker(raw, task_name) as worker:
        run_id = await raw.trigger(task_name)
        first = await worker.next_action()
        await worker.listen()

        again = await worker.next_action()

        assert again.task_run_external_id == first.task_run_external_id == run_id
        assert again.retry_count == 0
        await worker.send(again, COMPLETED, "{}")
    assert (await details(raw, run_id)).status == DONE


async def test_details_of_the_action(raw: RawClient, task_name: str, tenant: str) -> None:
    async with RawWorker(raw, task_name) as worker:
        run_id = await raw.trigger(task_name, '{"a": 1}', additional_metadata='{"b": "c"}', priority=2)
        action = await worker.next_action()

    assert action.tenant_id == tenant
    assert action.workflow_run_id == action.task_run_external_id == action.job_run_id == run_id
    assert action.action_id == f"{task_name}:{task_name}"
    assert action.task_name == action.job_name == task_name
    assert action.additional_metadata == '{"b": "c"}'
    assert action.priority == 2
    assert action.workflow_id
    assert action.workflow_version_id
    assert '"input"' in action.action_payload
    assert '{"a": 1}' in action.action_payload


async def test_only_as_many_as_there_are_slots(raw: RawClient, task_name: str) -> None:
    async with RawWorker(raw, task_name) as worker:
        for _ in range(7):
            await raw.trigger(task_name)
        actions = [await worker.next_action() for _ in range(5)]
        sixth = asyncio.create_task(worker.next_action())
        other = f"edge-{any_id()}"
        await raw.register_workflow(other)
        async with RawWorker(raw, other) as witness:
            # While another worker is served, the full one gets nothing.
            await raw.trigger(other)
            await witness.send(await witness.next_action(), COMPLETED, "{}")
        assert not sixth.done()

        await worker.send(actions[0], COMPLETED, "{}")

        assert (await sixth).task_run_external_id not in {action.task_run_external_id for action in actions}
