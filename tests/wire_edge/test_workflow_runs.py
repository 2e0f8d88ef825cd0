"""A workflow run of several tasks as every call shows it: one that completes, skips, fails, cancels and mends."""

import asyncio
import json
from typing import Any

import grpc
import pytest

from tests.support.eventually import eventually
from tests.wire_edge.flows import AFTER, BAD, GOOD, MEND, SKIPPED, Flow, flowing, payload_of
from tests.wire_edge.raw import RawClient, action_of, any_id, refusal
from tests.wire_edge.workers import CANCEL_STEP_RUN, RawWorker
from treadle.model.ids import step_id
from treadle.testing.engine import EngineProcess
from treadle.wire.gen.treadle.v1 import runs_pb2

DETAILS = "/v1.AdminService/GetRunDetails"
RESULTS = "/Dispatcher/SubscribeToWorkflowRuns"
EVENTS = "/Dispatcher/SubscribeToWorkflowEvents"
AWAIT = "/treadle.v1.Runs/Await"
READ_SECONDS = 15
MESSAGE_LIMIT = 4 * 1024 * 1024
ALL = (GOOD, SKIPPED, BAD, AFTER, MEND)
QUEUED, RUNNING, COMPLETED, FAILED, CANCELLED = range(5)


async def read(call: Any) -> Any:
    return await asyncio.wait_for(call.read(), READ_SECONDS)


def ids_of(run_id: str) -> dict[str, str]:
    return {name: step_id(run_id, step) for step, name in enumerate(ALL)}


async def test_each_task_is_told_what_it_needs(raw: RawClient) -> None:
    async with flowing(raw) as flow:
        run_id, told = await flow.run_to_its_end('{"x": 1}')
    assert [payload_of(told[name])["input"] for name in told] == [{"x": 1}] * 3
    assert {told[name].workflow_run_id for name in told} == {run_id}
    assert {name: told[name].task_run_external_id for name in told} == {
        name: id_ for name, id_ in ids_of(run_id).items() if name in told
    }
    assert payload_of(told[GOOD])["parents"] == {}
    assert payload_of(told[BAD])["parents"] == {GOOD: {"n": 1}}
    assert payload_of(told[MEND])["step_run_errors"] == {BAD: "Boom: on purpose\nline two"}


async def test_details_show_the_tasks_that_have_come_to_be(raw: RawClient) -> None:
    async with flowing(raw) as flow:
        run_id = await flow.start('{"x": 1}', additional_metadata='{"k": "v"}')
        first = await flow.act(GOOD)
        details = await raw.call(DETAILS, external_id=run_id)
        assert (details.status, details.done, set(details.task_runs)) == (RUNNING, False, {GOOD})
        await flow.worker.send(first, 2, '{"n": 1}')
        await flow.fail(BAD, "Boom: on purpose")
        details = await raw.call(DETAILS, external_id=run_id)
        assert (details.status, details.done) == (RUNNING, False)
        assert {name: task.status for name, task in details.task_runs.items()} == {
            GOOD: COMPLETED,
            SKIPPED: COMPLETED,
            BAD: FAILED,
            AFTER: CANCELLED,
            MEND: RUNNING,
        }
        await flow.succeed(MEND, "{}")
        details = await raw.call(DETAILS, external_id=run_id)
    assert (details.status, details.done) == (FAILED, True)
    assert (json.loads(details.input), json.loads(details.additional_metadata)) == ({"x": 1}, {"k": "v"})
    tasks = details.task_runs
    assert {name: task.external_id for name, task in tasks.items()} == ids_of(run_id)
    assert {name: task.readable_id for name, task in tasks.items()} == {name: name for name in ALL}
    assert json.loads(tasks[SKIPPED].output) == {"skipped": True}
    assert (tasks[GOOD].output, tasks[BAD].error, tasks[MEND].status) == (b'{"n": 1}', "Boom: on purpose", COMPLETED)
    alone = await raw.call(DETAILS, external_id=tasks[BAD].external_id)
    assert (alone.status, alone.done, set(alone.task_runs)) == (FAILED, True, {BAD})
    assert json.loads(alone.input) == {"x": 1}


async def test_a_run_of_which_nothing_has_begun_is_queued(raw: RawClient) -> None:
    async with flowing(raw) as flow:
        name = flow.name
    run_id = await raw.trigger(name)
    details = await raw.call(DETAILS, external_id=run_id)
    assert (details.status, details.done, set(details.task_runs)) == (QUEUED, False, {GOOD})
    await raw.call("/v1.AdminService/CancelTasks", external_ids=[run_id])
    details = await raw.call(DETAILS, external_id=run_id)
    assert (details.status, details.done) == (CANCELLED, True)


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
async def test_one_event_tells_of_the_end_with_a_result_per_task(raw: RawClient, late: bool) -> None:
    call = raw.converse(RESULTS)
    async with flowing(raw) as flow:
        if late:
            run_id, _ = await flow.run_to_its_end()
            await call.write(raw.new(RESULTS, workflow_run_id=run_id))
        else:
            run_id = await flow.start()
            await call.write(raw.new(RESULTS, workflow_run_id=run_id))
            await flow.succeed(GOOD, '{"n": 1}')
            await flow.fail(BAD, "Boom: on purpose\nline two")
            await flow.succeed(MEND, '{"mended": true}')
        event = await read(call)
    call.cancel()
    assert event.workflow_run_id == run_id
    assert {result.task_name: result.task_run_external_id for result in event.results} == ids_of(run_id)
    found = {result.task_name: result for result in event.results}
    assert (found[GOOD].output, json.loads(found[SKIPPED].output)) == ('{"n": 1}', {"skipped": True})
    assert (found[MEND].output, found[BAD].error) == ('{"mended": true}', "Boom: on purpose\nline two")
    assert [found[name].HasField("error") for name in ALL] == [False, False, True, True, False]
    # Clients of this contract take any text for a failure.
    assert found[AFTER].error == ""
    assert not found[AFTER].HasField("output")


async def test_a_run_is_followed_through_its_tasks_to_its_end(raw: RawClient) -> None:
    async with flowing(raw) as flow:
        run_id = await flow.start()
        first = await flow.act(GOOD)
        call = raw.subscribe(EVENTS, raw.new(EVENTS, workflow_run_id=run_id))
        await follows(flow, call, first)
        events = await all_events(call)
    ids = {id_: name for name, id_ in ids_of(run_id).items()}
    seen = [(ids.get(event.resource_id, event.resource_id), event.event_type, event.hangup) for event in events]
    by_task = {name: [kind for task, kind, _ in seen if task == name] for name in ALL}
    assert by_task == {GOOD: [2], SKIPPED: [2], BAD: [1, 3], AFTER: [4], MEND: [1, 2]}
    assert seen[-1] == (run_id, 3, True)
    assert {event.workflow_run_id for event in events} == {run_id}
    assert [hangup for *_, hangup in seen].count(True) == 1
    assert [event.event_payload for event in events if event.resource_id == ids_of(run_id)[BAD]][-1] == "Boom"


async def follows(flow: Flow, call: Any, first: Any) -> None:
    """Whether the stream is followed cannot be asked, so the first task streams until a chunk arrives."""
    chunk = asyncio.ensure_future(call.read())

    async def arrived() -> None:
        await flow.client.call(
            "/EventsService/PutStreamEvent",
            task_run_external_id=first.task_run_external_id,
            message=b"chunk",
            created_at={"seconds": 1},
        )
        await asyncio.sleep(0.02)
        assert chunk.done()

    await eventually(arrived)
    assert chunk.result().event_payload == "chunk"
    assert chunk.result().resource_id == first.task_run_external_id
    await flow.worker.send(first, 2, '{"n": 1}')
    await flow.fail(BAD, "Boom")
    await flow.succeed(MEND, "{}")


async def all_events(call: Any) -> list[Any]:
    """Everything but chunks, until the engine hangs up."""
    events = []
    while (event := await read(call)) is not grpc.aio.EOF:  # type: ignore[attr-defined]  # its stubs forget it
        if event.event_type != 6:
            events.append(event)
    return events


async def test_our_own_await_gives_tasks_outputs_and_the_first_error(raw: RawClient) -> None:
    async with flowing(raw) as flow:
        run_id, _ = await flow.run_to_its_end()
        result = await awaited(raw, run_id)
        task = await awaited(raw, ids_of(run_id)[SKIPPED])
    assert (result.status, result.error) == (runs_pb2.RUN_STATUS_FAILED, "Boom: on purpose\nline two")
    assert json.loads(result.output) == {GOOD: {"n": 1}, MEND: {"mended": True}}
    assert [(each.name, each.task_id, each.status) for each in result.tasks] == [
        (GOOD, ids_of(run_id)[GOOD], runs_pb2.RUN_STATUS_COMPLETED),
        (SKIPPED, ids_of(run_id)[SKIPPED], runs_pb2.RUN_STATUS_SKIPPED),
        (BAD, ids_of(run_id)[BAD], runs_pb2.RUN_STATUS_FAILED),
        (AFTER, ids_of(run_id)[AFTER], runs_pb2.RUN_STATUS_CANCELLED),
        (MEND, ids_of(run_id)[MEND], runs_pb2.RUN_STATUS_COMPLETED),
    ]
    assert (task.status, json.loads(task.output)) == (runs_pb2.RUN_STATUS_SKIPPED, {"skipped": True})


async def awaited(raw: RawClient, run_id: str) -> Any:
    call = raw.converse(AWAIT)
    await call.write(raw.new(AWAIT, run_ids=[run_id]))
    [result] = (await read(call)).results
    call.cancel()
    return result


async def test_our_own_get_and_list(raw: RawClient) -> None:
    async with flowing(raw) as flow:
        run_id, _ = await flow.run_to_its_end('{"x": 1}')
        name = flow.name
    detail = await raw.call("/treadle.v1.Runs/Get", id=run_id)
    assert (detail.run.task, detail.run.status, detail.run.error) == (
        name,
        runs_pb2.RUN_STATUS_FAILED,
        "Boom: on purpose",
    )
    assert (detail.run.run_id, detail.run.step) == ("", "")
    assert detail.run.started_at.ToNanoseconds() > 0
    assert [task.name for task in detail.tasks] == list(ALL)
    assert json.loads(detail.output) == {GOOD: {"n": 1}, MEND: {"mended": True}}
    history = {(event.task, event.kind) for event in detail.events}
    assert {("", "CREATED"), (SKIPPED, "SKIPPED"), (BAD, "FAILED"), (AFTER, "CANCELLED"), ("", "FAILED")} <= history
    task = await raw.call("/treadle.v1.Runs/Get", id=ids_of(run_id)[BAD])
    assert (task.run.run_id, task.run.step, task.run.task) == (run_id, BAD, name)
    assert (task.error, json.loads(task.input), len(task.tasks)) == ("Boom: on purpose\nline two", {"x": 1}, 0)
    listed = await raw.call("/treadle.v1.Runs/List", tasks=[name])
    assert [(run.id, run.status, run.error) for run in listed.runs] == [
        (run_id, runs_pb2.RUN_STATUS_FAILED, "Boom: on purpose")
    ]


async def test_cancel_of_a_run_stops_what_runs(raw: RawClient) -> None:
    async with flowing(raw) as flow:
        run_id = await flow.start()
        action = await flow.act(GOOD)
        answer = await raw.call("/treadle.v1.Runs/Cancel", ids=[run_id])
        assert list(answer.ids) == [run_id]
        stop = await flow.worker.next_action()
        assert (stop.action_type, stop.task_run_external_id) == (CANCEL_STEP_RUN, action.task_run_external_id)
    details = await raw.call(DETAILS, external_id=run_id)
    assert {name: task.status for name, task in details.task_runs.items()} == dict.fromkeys(
        (GOOD, SKIPPED, BAD, AFTER), CANCELLED
    )


async def test_cancel_reaches_children_when_asked_to(raw: RawClient) -> None:
    async with flowing(raw) as flow:
        run_id = await flow.start()
        action = await flow.act(GOOD)
        parent = {"parent_id": run_id, "parent_task_run_external_id": action.task_run_external_id}
        child = await flow.start(child_index=0, **parent)
        await flow.act(GOOD)
        answer = await raw.call("/treadle.v1.Runs/Cancel", ids=[run_id], children=True)
        assert set(answer.ids) == {run_id, child}
    details = await raw.call(DETAILS, external_id=child)
    assert (details.status, details.done) == (CANCELLED, True)


async def test_replay_of_a_failed_run_keeps_what_had_completed(raw: RawClient) -> None:
    async with flowing(raw) as flow:
        run_id, told = await flow.run_to_its_end()
        answer = await raw.call("/v1.AdminService/ReplayTasks", external_ids=[run_id])
        assert list(answer.replayed_tasks) == [run_id]
        details = await raw.call(DETAILS, external_id=run_id)
        assert (details.status, details.done) == (RUNNING, False)
        again = await flow.succeed(BAD, '{"ok": true}')
        assert (again.retry_count, told[BAD].retry_count) == (1, 0)
        assert payload_of(again)["parents"] == {GOOD: {"n": 1}}
        after = await flow.succeed(AFTER, '{"last": true}')
        assert payload_of(after)["parents"] == {BAD: {"ok": True}}
        result = await awaited(raw, run_id)
    assert result.status == runs_pb2.RUN_STATUS_COMPLETED
    assert json.loads(result.output) == {GOOD: {"n": 1}, BAD: {"ok": True}, AFTER: {"last": True}}


async def test_more_than_a_message_holds_is_said_so_everywhere(engine: EngineProcess) -> None:
    """Three tasks return two megabytes each: what waits for all of them cannot be told, and no answer breaks a stream."""
    narrow = [("grpc.max_receive_message_length", MESSAGE_LIMIT)]
    name = f"large-{any_id()}"
    roots = ("a", "b", "c")
    output = json.dumps({"text": "x" * 2_000_000})
    async with RawClient(engine.grpc_address, engine.token, options=narrow) as client:
        common = {"action": action_of(name), "timeout": "60s", "slot_requests": {"default": 1}}
        tasks = [common | {"readable_id": each} for each in roots]
        await client.call(
            "/v1.AdminService/PutWorkflow", name=name, tasks=[*tasks, common | {"readable_id": "all", "parents": roots}]
        )
        async with RawWorker(client, name, has_pulse=True) as worker:
            run_id = await client.trigger(name)
            for _ in roots:
                await worker.send(await worker.next_action(), 2, output)
            call = client.converse(RESULTS)
            await call.write(client.new(RESULTS, workflow_run_id=run_id))
            event = await read(call)
            call.cancel()
        details = await client.call(DETAILS, external_id=run_id)
        result = await awaited(client, run_id)
        shown = await client.call("/treadle.v1.Runs/Get", id=run_id)
        alone = await client.call(DETAILS, external_id=details.task_runs["c"].external_id)
    assert details.status == FAILED
    assert "DeliveryTooLarge" in details.task_runs["all"].error
    found = {each.task_name: each for each in event.results}
    assert (found["a"].output, found["c"].output) == (output, "")
    assert "too large" in found["c"].error
    assert "DeliveryTooLarge" in found["all"].error
    for tasks_shown in (result.tasks, shown.tasks):
        by_name = {task.name: task for task in tasks_shown}
        assert by_name["a"].output.decode() == output
        assert "too large" in by_name["c"].error
    assert alone.task_runs["c"].output.decode() == output


async def test_strangers_see_and_change_nothing(raw: RawClient, stranger: RawClient) -> None:
    async with flowing(raw) as flow:
        run_id = await flow.start()
        await flow.act(GOOD)
        for id_ in (run_id, ids_of(run_id)[GOOD]):
            assert (await refusal(stranger.call(DETAILS, external_id=id_))).code is grpc.StatusCode.NOT_FOUND
            answer = await stranger.call("/treadle.v1.Runs/Cancel", ids=[id_], children=True)
            assert list(answer.ids) == []
            answer = await stranger.call("/v1.AdminService/ReplayTasks", external_ids=[id_])
            assert list(answer.replayed_tasks) == []
            assert (await awaited(stranger, id_)).not_found
        details = await raw.call(DETAILS, external_id=run_id)
        assert (details.status, details.done) == (RUNNING, False)
        await raw.call("/treadle.v1.Runs/Cancel", ids=[run_id])
