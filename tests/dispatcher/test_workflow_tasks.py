"""Tasks of workflow runs on their way to a worker, in both contracts, and over a link between engines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.scheduler.plain import attempt, kind
from treadle.bus.messages import attempt_from, delivery_from
from treadle.dispatcher.actions import assigned_action, contract_step_id, json_object
from treadle.dispatcher.frames import SessionLink, delivery
from treadle.dispatcher.listen import Listener
from treadle.engine.catalog import TaskKind
from treadle.model.definition import TaskDefinition, WorkflowDefinition
from treadle.model.ids import new_id, step_id
from treadle.model.plan import Plan
from treadle.storage.register import VersionRow
from treadle.wire.gen.treadle.internal.v1 import engines_pb2
from treadle.wire.serving import Caller

if TYPE_CHECKING:
    from treadle.engine.attempt import Attempt
    from treadle.engine.commands import Report

CALLER = Caller(1, new_id(), "token")
LARGE = 4 * 1024 * 1024


def steps(*names: str) -> list[TaskKind]:
    """The kinds of the tasks of a workflow."""
    workflow = WorkflowDefinition("flow", tuple(TaskDefinition(name, f"flow:{name}") for name in names))
    version = VersionRow(1, 1, new_id(), new_id(), "", "{}")
    plan = Plan(workflow)
    return [TaskKind(version, workflow, step, 1, plan) for step in range(len(names))]


def task(**fields: Any) -> Attempt:
    """The second task of a workflow run."""
    item = attempt(steps("a", "b")[1], 0)
    item.run_id = new_id()
    item.input = b'{"n":1}'
    item.parents = {}
    item.errors = {}
    for name, value in fields.items():
        setattr(item, name, value)
    return item


def payload(item: Attempt) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(assigned_action(item, CALLER.tenant).action_payload)
    return value


def test_a_run_of_one_task_has_nothing_before_it() -> None:
    item = attempt(kind(), 0)
    action = assigned_action(item, CALLER.tenant)
    assert action.workflow_run_id == action.task_run_external_id == item.task_id
    assert action.job_id == action.task_id == item.kind.version_id
    assert json.loads(action.action_payload) == {
        "input": {},
        "parents": {},
        "triggers": {},
        "triggered_by": "manual",
        "user_data": {},
        "overrides": {},
        "step_run_errors": {},
    }


def test_a_task_of_a_workflow_run_is_told_what_came_before_it() -> None:
    item = task(
        parents={"a": b'{"x": 1}', "skipped.one": b'{"skipped": true}'},
        triggers='{"go":{"by":"me"},"sleep:10s":{}}',
        errors={"a": 'Boom: "quoted"\n\u2603'},
    )
    action = assigned_action(item, CALLER.tenant)
    assert action.workflow_run_id == item.run_id
    assert action.task_run_external_id == action.job_run_id == item.task_id
    assert (action.task_name, action.action_id) == ("b", "flow:b")
    assert json.loads(action.action_payload) == {
        "input": {"n": 1},
        "parents": {"a": {"x": 1}, "skipped.one": {"skipped": True}},
        "triggers": {"go": {"by": "me"}, "sleep:10s": {}},
        "triggered_by": "manual",
        "user_data": {},
        "overrides": {},
        "step_run_errors": {"a": 'Boom: "quoted"\n\u2603'},
    }


def test_what_is_not_known_of_a_task_is_empty() -> None:
    told = payload(task(parents=None, errors=None, triggers=None))
    assert (told["parents"], told["triggers"], told["step_run_errors"]) == ({}, {}, {})


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (None, {}),
        (b"", {}),
        (b"null", {}),
        (b"{}", {}),
        (b' {"a": 1}', {"a": 1}),
        (b"[1]", {"value": [1]}),
        (b'"{"', {"value": "{"}),
        (b"5", {"value": 5}),
    ],
)
def test_outputs_are_objects_in_this_contract(output: bytes | None, shown: dict[str, Any]) -> None:
    assert json.loads(json_object(output)) == shown


def test_the_steps_of_a_version_have_ids_of_their_own() -> None:
    first, second = steps("a", "b")
    assert contract_step_id(first) == step_id(first.version_id, 0)
    assert len({contract_step_id(first), contract_step_id(second), first.version_id}) == 3
    action = assigned_action(task(kind=second), CALLER.tenant)
    assert action.job_id == action.task_id == contract_step_id(second)


def test_a_delivery_on_a_session_says_the_same() -> None:
    item = task(parents={"a": b'{"x": 1}'}, triggers='{"go":{}}', errors={"a": "Boom"})
    message = delivery(item)
    assert message.run_id == item.run_id
    assert (dict(message.parents), dict(message.errors)) == ({"a": b'{"x": 1}'}, {"a": "Boom"})
    assert message.triggers == '{"go":{}}'
    alone = delivery(attempt(kind(), 0))
    assert (alone.run_id, alone.triggers, len(alone.parents), len(alone.errors)) == ("", "", 0, 0)


@pytest.mark.parametrize("triggers", [None, '{"go":{}}'])
def test_a_delivery_is_the_same_on_the_other_side_of_a_link(triggers: str | None) -> None:
    item = task(parents={"a": b'{"x": 1}'}, triggers=triggers, errors={"a": "Boom"}, child_key="k", metadata="{}")
    passed = attempt_from(engines_pb2.Delivery.FromString(delivery_from(item).SerializeToString()), item.kind)
    assert delivery(passed) == delivery(item)
    assert (passed.run_id, passed.parents, passed.errors) == (item.run_id, item.parents, item.errors)
    alone = attempt(kind(), 0)
    passed = attempt_from(delivery_from(alone), alone.kind)
    assert (passed.run_id, passed.triggers, passed.parents, passed.errors) == (None, None, None, None)


class Ports:
    """A worker of either contract, and what was refused on its way there."""

    def __init__(self) -> None:
        self.refused: list[Report] = []
        self.link = SessionLink(
            new_id(), 1, queue_ids=[1], capacity={"default": 9}, max_bytes=LARGE, refuse=self.refused.append
        )
        self.listener = Listener(new_id(), CALLER, max_bytes=LARGE, refuse=self.refused.append)


@pytest.mark.parametrize("name", ["link", "listener"])
def test_a_delivery_that_no_message_holds_fails_its_attempt(name: str) -> None:
    """Sent, it would break the stream of its worker each time that this is opened again."""
    ports = Ports()
    port = getattr(ports, name)
    half = b'"' + b"x" * (LARGE // 2 - 40_000) + b'"'
    fits = task(parents={"a": half, "b": half[: len(half) // 2] + b'"'})
    port.deliver([fits])
    assert ports.refused == []
    too_much = task(parents={"a": half, "b": half, "c": half})
    port.deliver([too_much])
    [report] = ports.refused
    assert (report.worker_id, report.tenant_id) == (port.worker_id, 1)
    [failed] = report.failed
    assert (failed.task_id, failed.attempt, failed.should_not_retry) == (too_much.task_id, 1, True)
    assert "DeliveryTooLarge" in failed.error


def test_outputs_of_parents_count_towards_the_size_of_a_frame() -> None:
    link = Ports().link
    output = b'"' + b"x" * 1_500_000 + b'"'
    items = [task(parents={"a": output}) for _ in range(5)]
    link.deliver(items)
    assert link._frame.ByteSize() < LARGE
    assert 0 < len(link._frame.deliveries) < 5
    assert len(link._frame.deliveries) + len(link._later) == 5
