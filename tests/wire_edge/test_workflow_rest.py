"""Workflow runs over REST, read with the official SDK's own models, and on the command line."""

import importlib
import json
import warnings
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.api.rest_client import RestClient
from tests.cli.cli_process import treadle
from tests.wire_edge.flows import AFTER, BAD, GOOD, MEND, SKIPPED, Flow, flowing
from tests.wire_edge.raw import RawClient, any_id
from treadle.model.ids import step_id
from treadle.testing.engine import EngineProcess

ALL = (GOOD, SKIPPED, BAD, AFTER, MEND)
NOBODY = "00000000-0000-0000-0000-000000000000"


def sdk_models() -> ModuleType:
    # The official SDK warns about its own dependencies while it is imported; that is not ours to fix.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("hatchet_sdk.clients.rest.models")


class Rest:
    """The REST edge of the engine, for one tenant."""

    def __init__(self, engine: EngineProcess, tenant: str) -> None:
        self._client = RestClient(int(engine.http_url.rpartition(":")[2]))
        self._headers = {"Authorization": f"Bearer {engine.token}"}
        self.tenant = f"/api/v1/stable/tenants/{tenant}"

    def get(self, path: str, model: str = "", **params: Any) -> Any:
        """The answer, as the SDK reads it."""
        answer = self._client.get(path, headers=self._headers, params=params)
        assert answer.status_code == 200, answer.text
        return getattr(sdk_models(), model).from_json(answer.text) if model else answer.json()

    def status(self, path: str) -> int:
        return self._client.get(path, headers=self._headers).status_code

    def post(self, path: str, body: Any) -> Any:
        answer = self._client.post(self.tenant + path, headers=self._headers, body=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def list(self, name: str, *, only_tasks: bool, **params: Any) -> Any:
        since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        found = self.get(
            f"{self.tenant}/workflow-runs",
            "V1TaskSummaryList",
            since=since,
            only_tasks=str(only_tasks).lower(),
            **params,
        )
        return [row for row in found.rows if row.workflow_name == name]


@pytest.fixture
def rest(engine: EngineProcess, tenant: str) -> Rest:
    return Rest(engine, tenant)


class Ended:
    """A run that has ended, and the workflow that it is one of."""

    def __init__(self, flow: Flow, run_id: str) -> None:
        self.name = flow.name
        self.run_id = run_id
        self.ids = {name: step_id(run_id, step) for step, name in enumerate(ALL)}


@pytest.fixture
async def ended(raw: RawClient) -> AsyncIterator[Ended]:
    async with flowing(raw) as flow:
        run_id, _ = await flow.run_to_its_end('{"x": 1}')
        yield Ended(flow, run_id)


async def test_a_run_with_its_tasks_events_and_shape(rest: Rest, ended: Ended) -> None:
    details = rest.get(f"/api/v1/stable/workflow-runs/{ended.run_id}", "V1WorkflowRunDetails")
    run = details.run
    assert (run.metadata.id, run.status, run.input) == (ended.run_id, "FAILED", {"x": 1})
    assert run.output == {GOOD: {"n": 1}, MEND: {"mended": True}}
    assert run.error_message == "Boom: on purpose\nline two"
    assert run.started_at is not None
    assert run.duration is not None
    assert {task.display_name.rpartition("-")[0]: task.task_external_id for task in details.tasks} == ended.ids
    by_name = {task.display_name.rpartition("-")[0]: task for task in details.tasks}
    assert {name: task.status for name, task in by_name.items()} == {
        GOOD: "COMPLETED",
        SKIPPED: "COMPLETED",
        BAD: "FAILED",
        AFTER: "CANCELLED",
        MEND: "COMPLETED",
    }
    assert (by_name[SKIPPED].output, by_name[GOOD].output) == ({"skipped": True}, {"n": 1})
    assert {task.workflow_run_external_id for task in details.tasks} == {ended.run_id}
    assert {task.type for task in details.tasks} == {"TASK"}
    shape = {item.task_name: item for item in details.shape}
    assert {name: item.task_external_id for name, item in shape.items()} == ended.ids
    step_ids = {item.step_id: name for name, item in shape.items()}
    assert {name: {step_ids[id_] for id_ in item.children_step_ids} for name, item in shape.items()} == {
        GOOD: {SKIPPED, BAD},
        SKIPPED: set(),
        BAD: {AFTER},
        AFTER: set(),
        MEND: set(),
    }
    assert {task.step_id for task in details.tasks} == set(step_ids)
    happened = [(event.task_id, event.event_type) for event in details.task_events]
    assert (ended.ids[SKIPPED], "SKIPPED") in happened
    assert happened.index((ended.ids[BAD], "FAILED")) > happened.index((ended.ids[GOOD], "FINISHED"))
    assert rest.get(f"/api/v1/stable/workflow-runs/{ended.run_id}/status") == "FAILED"


async def test_a_task_of_a_run(rest: Rest, ended: Ended) -> None:
    task = rest.get(f"/api/v1/stable/tasks/{ended.ids[BAD]}", "V1TaskSummary")
    assert (task.status, task.error_message) == ("FAILED", "Boom: on purpose\nline two")
    assert (task.attempt, task.retry_count, task.input) == (1, 0, {"x": 1})
    assert rest.get(f"/api/v1/stable/workflow-runs/{ended.ids[SKIPPED]}/status") == "COMPLETED"
    for path in (f"{ended.ids[BAD]}?attempt=2", ended.run_id, any_id()):
        assert rest.status(f"/api/v1/stable/tasks/{path}") == 404, path
    assert rest.status(f"/api/v1/stable/tasks/{ended.ids[BAD]}?attempt=0") == 400


async def test_what_has_not_come_to_be_has_no_id_in_the_shape(rest: Rest, raw: RawClient) -> None:
    async with flowing(raw) as flow:
        run_id = await flow.start()
        await flow.act(GOOD)
        details = rest.get(f"/api/v1/stable/workflow-runs/{run_id}", "V1WorkflowRunDetails")
        await raw.call("/treadle.v1.Runs/Cancel", ids=[run_id])
    assert (details.run.status, len(details.tasks)) == ("RUNNING", 1)
    assert [item.task_external_id for item in details.shape] == [step_id(run_id, 0), *[NOBODY] * 4]


async def test_lists_have_runs_or_tasks(rest: Rest, ended: Ended) -> None:
    [run] = rest.list(ended.name, only_tasks=False, include_payloads="true")
    assert (run.metadata.id, run.type, run.status) == (ended.run_id, "DAG", "FAILED")
    assert (run.input, run.output) == ({"x": 1}, {GOOD: {"n": 1}, MEND: {"mended": True}})
    assert run.children is not None
    assert [child.task_external_id for child in run.children] == list(ended.ids.values())
    tasks = rest.list(ended.name, only_tasks=True, include_payloads="true")
    assert {task.task_external_id for task in tasks} == set(ended.ids.values())
    assert {json.dumps(task.input) for task in tasks} == {'{"x": 1}'}
    bare = rest.list(ended.name, only_tasks=True)
    assert {(json.dumps(task.input), json.dumps(task.output)) for task in bare} == {("{}", "{}")}


async def test_lists_by_status(rest: Rest, ended: Ended) -> None:
    def ids(*statuses: str, only_tasks: bool) -> set[str]:
        return {row.metadata.id for row in rest.list(ended.name, only_tasks=only_tasks, statuses=statuses)}

    assert ids("FAILED", only_tasks=False) == {ended.run_id}
    assert ids("COMPLETED", only_tasks=False) == set()
    assert ids("COMPLETED", only_tasks=True) == {ended.ids[name] for name in (GOOD, SKIPPED, MEND)}
    assert ids("CANCELLED", "FAILED", only_tasks=True) == {ended.ids[BAD], ended.ids[AFTER]}


async def test_pages_of_a_list(rest: Rest, raw: RawClient) -> None:
    async with flowing(raw) as flow:
        runs = [await flow.start(additional_metadata=f'{{"page": "{flow.name}"}}') for _ in range(5)]
        pages = [
            [row.metadata.id for row in rest.list(flow.name, only_tasks=False, offset=offset, limit=2, **only(flow))]
            for offset in (0, 2, 4, 6)
        ]
        await raw.call("/treadle.v1.Runs/Cancel", ids=runs)
    assert pages == [runs[:2:-1], runs[2:0:-1], runs[:1], []]


def only(flow: Flow) -> dict[str, Any]:
    return {"additional_metadata": [f"page:{flow.name}"]}


async def test_metadata_of_a_list_must_all_match_unless_told_otherwise(rest: Rest, raw: RawClient) -> None:
    async with flowing(raw) as flow:
        both = await flow.start(additional_metadata=f'{{"a": "1", "b": "{flow.name}"}}')
        one = await flow.start(additional_metadata=f'{{"a": "2", "b": "{flow.name}"}}')
        asked = {"additional_metadata": ["a:1", f"b:{flow.name}"]}
        found = rest.list(flow.name, only_tasks=False, **asked)
        either = rest.list(flow.name, only_tasks=False, additional_metadata_operator="OR", **asked)
        await raw.call("/treadle.v1.Runs/Cancel", ids=[one, both])
    assert [row.metadata.id for row in found] == [both]
    assert [row.metadata.id for row in either] == [one, both]


async def test_start_cancel_and_replay(rest: Rest, raw: RawClient) -> None:
    async with flowing(raw) as flow:
        started = rest.post(
            "/workflow-runs/trigger",
            {"workflowName": flow.name, "input": {"x": 2}, "additionalMetadata": {"k": "v"}, "priority": 3},
        )
        details = sdk_models().V1WorkflowRunDetails.from_json(json.dumps(started))
        assert details is not None
        run_id = details.run.metadata.id
        assert (details.run.input, details.run.additional_metadata) == ({"x": 2}, {"k": "v"})
        action = await flow.act(GOOD)
        assert (action.workflow_run_id, action.priority) == (run_id, 3)
        assert rest.post("/tasks/cancel", {"externalIds": [action.task_run_external_id]})["ids"] == [
            action.task_run_external_id
        ]
        assert rest.get(f"/api/v1/stable/workflow-runs/{run_id}/status") == "CANCELLED"
        since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        chosen = {"since": since, "statuses": ["CANCELLED"], "additionalMetadata": ["k:v"]}
        assert rest.post("/tasks/replay", {"filter": chosen})["ids"] == [run_id]
        await flow.worker.next_action()  # to stop the first attempt
        again = await flow.act(GOOD)
        assert (again.task_run_external_id, again.retry_count) == (action.task_run_external_id, 1)
        assert rest.post("/tasks/cancel", {"externalIds": [run_id]})["ids"] == [run_id]


async def test_a_workflow_that_nobody_registered_is_a_bad_request(rest: Rest) -> None:
    answer = rest._client.post(
        f"{rest.tenant}/workflow-runs/trigger", headers=rest._headers, body={"workflowName": "nobody", "input": {}}
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "workflow_name"


async def test_the_command_line_shows_tasks(engine: EngineProcess, ended: Ended, tmp_path: Path) -> None:
    def shown(*arguments: str) -> str:
        done = treadle(*arguments, env=engine.client_env, cwd=tmp_path)
        assert done.code == 0, done.err
        return done.out

    run = json.loads(shown("runs", "get", ended.run_id, "-o", "json"))
    assert [(task["name"], task["status"], task["id"]) for task in run["tasks"]] == [
        (GOOD, "COMPLETED", ended.ids[GOOD]),
        (SKIPPED, "SKIPPED", ended.ids[SKIPPED]),
        (BAD, "FAILED", ended.ids[BAD]),
        (AFTER, "CANCELLED", ended.ids[AFTER]),
        (MEND, "COMPLETED", ended.ids[MEND]),
    ]
    assert (run["status"], run["run_id"], run["step"]) == ("FAILED", None, None)
    assert {event["task"] for event in run["events"]} == {None, *ALL}
    table = shown("runs", "get", ended.run_id)
    line = next(line for line in table.splitlines() if line.startswith(BAD))
    assert line.split() == [BAD, "FAILED", "1", ended.ids[BAD], "Boom:", "on", "purpose"]
    task = json.loads(shown("runs", "get", ended.ids[BAD], "-o", "json"))
    assert (task["run_id"], task["step"], task["tasks"]) == (ended.run_id, BAD, [])
    listed = [json.loads(row) for row in shown("runs", "list", "--task", ended.name, "-o", "jsonl").splitlines()]
    assert [(row["id"], row["status"], row["error"]) for row in listed] == [
        (ended.run_id, "FAILED", "Boom: on purpose")
    ]


async def test_the_command_line_cancels_children_too(engine: EngineProcess, raw: RawClient, tmp_path: Path) -> None:
    async with flowing(raw) as flow:
        parent = await flow.start()
        action = await flow.act(GOOD)
        child = await flow.start(
            parent_id=parent, parent_task_run_external_id=action.task_run_external_id, child_index=0
        )
        done = treadle("runs", "cancel", parent, "--children", "-o", "json", env=engine.client_env, cwd=tmp_path)
    assert done.code == 0, done.err
    assert set(done.json()["cancelled"]) == {parent, child}
