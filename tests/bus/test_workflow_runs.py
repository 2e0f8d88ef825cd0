"""Workflow runs and events with two engines: asked for, worked on and pushed at the one that does not own the tenant."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.bus.engines import Engines, pushed_results, running
from tests.support.eventually import eventually
from treadle.model.ids import step_id
from treadle.model.states import RunStatus
from treadle.wire.gen.hatchet.v1 import workflows_pb2
from treadle.wire.gen.treadle.v1 import events_pb2, runs_pb2, worker_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.chaos.raw import RawClient, RawWorker

ACTION = "flow:any"
QUEUE = 1


@pytest.fixture
async def engines(database_url: str, tmp_path: Path) -> AsyncIterator[Engines]:
    async with running(database_url, tmp_path, lost_after=2.0) as engines:
        yield engines


def task(name: str, *parents: str, **more: object) -> workflows_pb2.CreateTaskOpts:
    return workflows_pb2.CreateTaskOpts(
        readable_id=name,
        action=ACTION,
        timeout="5m",
        inputs="{}",
        parents=parents,
        **more,  # type: ignore[arg-type]  # fields of this very message
    )


class Far:
    """The owner's client, and a client and a worker of the other engine."""

    def __init__(self, near: RawClient, far: RawClient, worker: RawWorker) -> None:
        self.near = near
        self.far = far
        self.worker = worker

    async def succeed(self, run_id: str, step: int, output: bytes) -> worker_pb2.Delivery:
        """The worker is given a task, and completes it."""
        delivery = await self.worker.receive(step_id(run_id, step))
        await self.worker.complete(delivery.task_id, delivery.attempt, output)
        return delivery


async def far_away(engines: Engines, *tasks: workflows_pb2.CreateTaskOpts, **workflow: object) -> Far:
    """A workflow `flow`, with a worker at the engine that does not own the tenant."""
    owner, other = await engines.apart()
    near, far = engines.client(owner), engines.client(other)
    request = workflows_pb2.CreateWorkflowVersionRequest(
        name="flow",
        tasks=tasks,
        **workflow,  # type: ignore[arg-type]  # fields of this very message
    )
    await far.call("/v1.AdminService/PutWorkflow", request, workflows_pb2.CreateWorkflowVersionResponse)
    return Far(near, far, await engines.worker(far, ACTION))


async def test_what_a_task_is_told_crosses_the_link(engines: Engines) -> None:
    here = await far_away(engines, task("a"), task("b", "a"), on_failure_task=task("mend"))
    for client in (here.near, here.far):
        [run_id] = await client.start("flow", '{"x": 1}')
        first = await here.succeed(run_id, 0, b'{"n": 1}')
        assert (first.run_id, first.input, dict(first.parents)) == (run_id, b'{"x": 1}', {})
        second = await here.worker.receive(step_id(run_id, 1))
        assert (second.run_id, second.input, dict(second.parents)) == (run_id, b'{"x": 1}', {"a": b'{"n": 1}'})
        failure = worker_pb2.Failure(task_id=second.task_id, attempt=1, error="Boom", should_not_retry=True)
        await here.worker.send(worker_pb2.WorkerFrame(failed=[failure]))
        mended = await here.succeed(run_id, 2, b"{}")
        assert dict(mended.errors) == {"b": "Boom"}
        for waiter in (here.near, here.far):
            [result] = await pushed_results(waiter, run_id)
            assert (result.status, result.error) == (runs_pb2.RUN_STATUS_FAILED, "Boom")
            assert [(each.name, each.status) for each in result.tasks] == [
                ("a", runs_pb2.RUN_STATUS_COMPLETED),
                ("b", runs_pb2.RUN_STATUS_FAILED),
                ("mend", runs_pb2.RUN_STATUS_COMPLETED),
            ]


async def test_who_waits_far_away_is_told_when_the_run_ends(engines: Engines) -> None:
    here = await far_away(engines, task("a"), task("b", "a"))
    runs = await here.far.start("flow", "{}", "{}")
    for run_id in runs:
        await here.succeed(run_id, 0, b'{"n": 1}')
        await here.succeed(run_id, 1, b'{"n": 2}')
    results = await pushed_results(here.far, *runs)
    assert {result.run_id for result in results} == set(runs)
    assert [json.loads(result.output) for result in results] == [{"a": {"n": 1}, "b": {"n": 2}}] * 2
    [task_result] = await pushed_results(here.far, step_id(runs[0], 1))
    assert (task_result.status, task_result.output) == (runs_pb2.RUN_STATUS_COMPLETED, b'{"n": 2}')


async def test_events_pushed_far_away_meet_who_waits(engines: Engines) -> None:
    base = {"readable_data_key": "go", "action": QUEUE, "or_group_id": "a", "expression": "input.n == 2"}
    condition = {"base": base, "user_event_key": "go", "event_scope": "s"}
    here = await far_away(engines, task("a", conditions={"user_event_conditions": [condition]}))
    [run_id] = await here.near.start("flow", "{}")

    async def waits() -> None:
        assert "WAITING" in {event.kind for event in (await here.far.get(run_id)).events}

    await eventually(waits)
    pushed = await here.far.call(
        "/treadle.v1.Events/Push",
        events_pb2.PushRequest(
            events=[
                events_pb2.NewEvent(key="go", payload=b'{"n": 1}', scope="s"),
                events_pb2.NewEvent(key="go", payload=b"no json", scope="s"),
                events_pb2.NewEvent(key="go", payload=b'{"n": 2}', scope="s", metadata='{"k":"v"}', priority=2),
            ]
        ),
        events_pb2.PushResponse,
    )
    assert [outcome.WhichOneof("outcome") for outcome in pushed.outcomes] == ["event_id", "problem", "event_id"]
    delivery = await here.succeed(run_id, 0, b"{}")
    assert json.loads(delivery.triggers) == {"go": {"n": 2}}
    stored = await engines.value(
        "SELECT (key, scope, priority, metadata, convert_from(payload, 'UTF8'))::text FROM treadle.event WHERE id = $1",
        pushed.outcomes[2].event_id,
    )
    assert stored == '(go,s,2,"{""k"":""v""}","{""n"": 2}")'


async def test_a_cancel_far_away_takes_along_the_children(engines: Engines) -> None:
    here = await far_away(engines, task("a"), task("b", "a"))
    [parent] = await here.far.start("flow", "{}")
    await here.worker.receive(step_id(parent, 0))
    request = runs_pb2.StartRequest(
        runs=[runs_pb2.NewRun(task="flow", parent_task_id=step_id(parent, 0), child_index=0)]
    )
    started = await here.far.call("/treadle.v1.Runs/Start", request, runs_pb2.StartResponse)
    child = started.outcomes[0].run_id
    await here.worker.receive(step_id(child, 0))
    changed = await here.far.call(
        "/treadle.v1.Runs/Cancel", runs_pb2.SelectRuns(ids=[parent], children=True), runs_pb2.ChangedRuns
    )
    assert set(changed.ids) == {parent, child}
    for run_id in (parent, child):
        await here.worker.cancelled(step_id(run_id, 0), 1)
        assert (await here.far.ended(run_id))[0] is RunStatus.CANCELLED
