"""Ids of another tenant are as good as ids of nobody: nothing is shown, nothing is changed."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from tests.wire_edge.raw import RawClient, refusal
from tests.wire_edge.stored import rows_stored
from tests.wire_edge.workers import COMPLETED, STARTED, RawWorker
from treadle.testing.engine import EngineProcess

RUNNING, COMPLETED_STATUS = 1, 2


class Victim:
    """A worker of the first tenant with one running task."""

    def __init__(self, worker: RawWorker, action: Any, run_id: str, task_name: str) -> None:
        self.worker = worker
        self.action = action
        self.run_id = run_id
        self.task_name = task_name


@pytest.fixture
async def victim(raw: RawClient, task_name: str) -> AsyncIterator[Victim]:
    async with RawWorker(raw, task_name) as worker:
        run_id = await raw.trigger(task_name)
        action = await worker.next_action()
        await worker.send(action, STARTED)
        yield Victim(worker, action, run_id, task_name)


async def assert_untouched(raw: RawClient, victim: Victim) -> None:
    """It is still running, its worker is still believed in, and it can end as if nothing had been."""
    await raw.call("/Dispatcher/Heartbeat", worker_id=victim.worker.worker_id)
    before = await raw.call("/v1.AdminService/GetRunDetails", external_id=victim.run_id)
    assert before.status == RUNNING
    await victim.worker.send(victim.action, COMPLETED, '{"mine": true}')
    after = await raw.call("/v1.AdminService/GetRunDetails", external_id=victim.run_id)
    assert after.status == COMPLETED_STATUS
    assert after.task_runs[victim.task_name].output == b'{"mine": true}'


CALLS: dict[str, dict[str, Any]] = {
    "/v1.AdminService/GetRunDetails": {"external_id": "RUN"},
    "/Dispatcher/RefreshTimeout": {"task_run_external_id": "RUN", "increment_timeout_by": "10s"},
    "/Dispatcher/ReleaseSlot": {"task_run_external_id": "RUN"},
    "/EventsService/PutLog": {"task_run_external_id": "RUN", "message": "hello"},
    "/EventsService/PutStreamEvent": {"task_run_external_id": "RUN", "message": b"hello"},
    "/Dispatcher/Heartbeat": {"worker_id": "WORKER"},
    "/Dispatcher/ListenV2": {"worker_id": "WORKER"},
    "/Dispatcher/Unsubscribe": {"worker_id": "WORKER"},
    "/Dispatcher/UpsertWorkerLabels": {"worker_id": "WORKER", "labels": {"a": {"int_value": 1}}},
    "/Dispatcher/SubscribeToWorkflowEvents": {"workflow_run_id": "RUN"},
    "/treadle.v1.Runs/Get": {"id": "RUN"},
}


@pytest.mark.parametrize("path", CALLS)
async def test_a_foreign_id_is_not_found(
    engine: EngineProcess, raw: RawClient, stranger: RawClient, victim: Victim, path: str
) -> None:
    ids = {"RUN": victim.run_id, "WORKER": victim.worker.worker_id}
    fields = {name: ids.get(value, value) if isinstance(value, str) else value for name, value in CALLS[path].items()}
    before = await rows_stored(engine)

    refused = await refusal(stranger.first_answer(path, stranger.new(path, **fields)))

    assert refused.code is grpc.StatusCode.NOT_FOUND
    assert await rows_stored(engine) == before
    await assert_untouched(raw, victim)


@pytest.mark.parametrize(("method", "field"), [("CancelTasks", "cancelled_tasks"), ("ReplayTasks", "replayed_tasks")])
async def test_foreign_runs_are_not_selected(
    raw: RawClient, stranger: RawClient, victim: Victim, method: str, field: str
) -> None:
    path = f"/v1.AdminService/{method}"

    by_id = await stranger.call(path, external_ids=[victim.run_id])
    by_filter = await stranger.call(path, filter={"since": {"seconds": int(time.time()) - 3600}})

    assert list(getattr(by_id, field)) == []
    # Runs of the stranger's own, of other tests, may well be among them.
    assert victim.run_id not in getattr(by_filter, field)
    await assert_untouched(raw, victim)


@pytest.mark.parametrize("method", ["Cancel", "Replay"])
async def test_foreign_runs_are_not_selected_by_the_own_api(
    raw: RawClient, stranger: RawClient, victim: Victim, method: str
) -> None:
    path = f"/treadle.v1.Runs/{method}"

    by_id = await stranger.call(path, ids=[victim.run_id])
    by_filter = await stranger.call(path, filter={"tasks": [victim.task_name]})

    assert list(by_id.ids) == []
    assert victim.run_id not in by_filter.ids
    await assert_untouched(raw, victim)


async def test_a_foreign_report_changes_nothing(
    engine: EngineProcess, raw: RawClient, stranger: RawClient, victim: Victim
) -> None:
    before = await rows_stored(engine)

    refused = await refusal(
        stranger.call(
            "/Dispatcher/SendStepActionEvent",
            worker_id=victim.worker.worker_id,
            task_run_external_id=victim.run_id,
            action_id=victim.action.action_id,
            event_type=COMPLETED,
            event_payload='{"theirs": true}',
            retry_count=0,
        )
    )

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "task_run_external_id" in refused.details
    assert await rows_stored(engine) == before
    await assert_untouched(raw, victim)


async def test_a_foreign_workflow_is_unknown(engine: EngineProcess, stranger: RawClient, task_name: str) -> None:
    before = await rows_stored(engine)

    refused = await refusal(stranger.trigger(task_name))

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "name" in refused.details
    assert await rows_stored(engine) == before


async def test_a_foreign_parent_is_refused(
    engine: EngineProcess, raw: RawClient, stranger: RawClient, victim: Victim
) -> None:
    await stranger.register_workflow(victim.task_name)
    before = await rows_stored(engine)

    refused = await refusal(
        stranger.trigger(
            victim.task_name, parent_task_run_external_id=victim.run_id, parent_id=victim.run_id, child_index=0
        )
    )

    assert refused.code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    assert "parent_task_run_external_id" in refused.details
    assert await rows_stored(engine) == before
    await assert_untouched(raw, victim)


async def test_workflows_of_one_name_are_two(raw: RawClient, stranger: RawClient, victim: Victim) -> None:
    """Both tenants may call theirs the same; the worker of one never gets the run of the other."""
    await stranger.register_workflow(victim.task_name)

    theirs = await stranger.trigger(victim.task_name)
    mine = await raw.trigger(victim.task_name)

    assert (await victim.worker.next_action()).task_run_external_id == mine
    details = await stranger.call("/v1.AdminService/GetRunDetails", external_id=theirs)
    assert details.status == 0  # still queued


async def test_results_of_foreign_runs_are_not_pushed(raw: RawClient, stranger: RawClient, victim: Victim) -> None:
    """On the same stream an own run is answered, the foreign one before it is not."""
    path = "/Dispatcher/SubscribeToWorkflowRuns"
    await victim.worker.send(victim.action, COMPLETED, '{"mine": true}')
    await stranger.register_workflow(victim.task_name)
    async with RawWorker(stranger, victim.task_name) as worker:
        own = await stranger.trigger(victim.task_name)
        await worker.send(await worker.next_action(), COMPLETED, '{"theirs": true}')

    call = stranger.converse(path)
    await call.write(stranger.new(path, workflow_run_id=victim.run_id))
    await call.write(stranger.new(path, workflow_run_id=own))
    answer = await asyncio.wait_for(call.read(), 10)
    call.cancel()

    assert answer.workflow_run_id == own
    assert [result.output for result in answer.results] == ['{"theirs": true}']
    mine = await raw.call("/v1.AdminService/GetRunDetails", external_id=victim.run_id)
    assert mine.status == COMPLETED_STATUS


async def test_foreign_runs_are_not_found_by_await(stranger: RawClient, victim: Victim) -> None:
    call = stranger.converse("/treadle.v1.Runs/Await")
    await call.write(stranger.new("/treadle.v1.Runs/Await", run_ids=[victim.run_id]))
    answer = await asyncio.wait_for(call.read(), 10)
    call.cancel()

    (result,) = answer.results
    assert (result.run_id, result.not_found, result.output) == (victim.run_id, True, b"")


async def test_a_foreign_worker_cannot_be_resumed(raw: RawClient, stranger: RawClient, victim: Victim) -> None:
    path = "/treadle.v1.Worker/Session"
    hello = {"worker_id": victim.worker.worker_id, "name": "thief", "actions": ["a:b"], "slots": {"default": 1}}

    answer = await stranger.first_answer(path, stranger.new(path, hello=hello))

    # As with any id the engine does not know: the worker becomes a new one.
    assert answer.welcome.worker_id
    assert answer.welcome.worker_id != victim.worker.worker_id
    await assert_untouched(raw, victim)
