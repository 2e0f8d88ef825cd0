"""Runs over REST: shown, listed, started, cancelled and replayed; answers are parsed with the SDK's own models."""

from typing import Any

import pytest

from tests.api.fake_backend import (
    GOOD,
    OTHER_TENANT,
    RUN,
    STEP,
    T0,
    TASK,
    TENANT,
    WORKER,
    Backend,
    problem,
    sdk_models,
    task_view,
)
from tests.api.rest_client import RestClient
from treadle.api.backend import RunSelection
from treadle.model.states import RunStatus


def test_cancel_by_ids_and_by_filter(client: RestClient, backend: Backend) -> None:
    path = f"/api/v1/stable/tenants/{TENANT}/tasks/cancel"
    answer = client.post(path, body={"externalIds": [RUN.upper()]}, headers=GOOD)
    assert answer.json() == {"ids": [RUN]}
    client.post(
        path,
        body={
            "filter": {
                "since": "2026-01-02T03:04:05.123456Z",
                "statuses": ["QUEUED", "FAILED"],
                "additionalMetadata": ["team:a:b"],
            }
        },
        headers=GOOD,
    )
    assert backend.selections == [
        RunSelection(ids=(RUN,)),
        RunSelection(since=T0, statuses=(RunStatus.QUEUED, RunStatus.FAILED), metadata=(("team", "a:b"),)),
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"externalIds": [RUN], "filter": {"since": "2026-01-02T03:04:05Z"}}, "body"),
        ({"externalIds": ["x"]}, "externalIds"),
        ({"filter": {"statuses": []}}, "filter.since"),
        ({"filter": {"since": "yesterday"}}, "filter.since"),
        ({"filter": {"since": "2026-01-02T03:04:05Z", "statuses": ["BUSY"]}}, "statuses"),
        ({"filter": {"since": "2026-01-02T03:04:05Z", "workflowIds": ["x"]}}, "workflowIds"),
        ({"filter": {"since": "2026-01-02T03:04:05Z", "additionalMetadata": ["x"]}}, "additionalMetadata"),
    ],
)
def test_a_bad_selector_is_refused_by_name(
    client: RestClient, backend: Backend, body: dict[str, Any], field: str
) -> None:
    answer = client.post(f"/api/v1/stable/tenants/{TENANT}/tasks/cancel", body=body, headers=GOOD)
    status, named, _ = problem(answer)
    assert (status, named) == (400, field)
    assert backend.selections == []


def test_run_status_is_a_bare_string(client: RestClient) -> None:
    assert client.get(f"/api/v1/stable/workflow-runs/{RUN}/status", headers=GOOD).json() == "RUNNING"
    assert client.get(f"/api/v1/stable/workflow-runs/{TENANT}/status", headers=GOOD).status_code == 404


def test_a_run_parses_as_the_sdks_model(client: RestClient) -> None:
    answer = client.get(f"/api/v1/stable/workflow-runs/{RUN}", headers=GOOD)
    details = sdk_models().V1WorkflowRunDetails.from_json(answer.text)
    assert details is not None
    assert (details.run.metadata.id, details.run.output, details.run.input) == (RUN, {"step": 1}, {})
    assert [task.task_external_id for task in details.tasks] == [TASK]
    # The contract has no word for waiting.
    assert [(event.event_type, event.attempt, event.error_message) for event in details.task_events] == [
        ("FAILED", 1, "Boom"),
        ("SKIPPED", 2, None),
    ]
    assert [(item.task_name, item.task_external_id, item.children_step_ids) for item in details.shape] == [
        ("step", TASK, [OTHER_TENANT]),
        ("later", "00000000-0000-0000-0000-000000000000", []),
    ]
    assert client.get(f"/api/v1/stable/workflow-runs/{TENANT}", headers=GOOD).status_code == 404


@pytest.mark.parametrize(
    ("payload", "shown"),
    [(None, {}), (b"", {}), (b"null", {}), (b'{"a": 1}', {"a": 1}), (b"[1]", {"value": [1]}), (b"0", {"value": 0})],
)
def test_payloads_are_objects(client: RestClient, backend: Backend, payload: bytes | None, shown: Any) -> None:
    backend.shown = task_view(input=payload, output=payload)
    task = client.get(f"/api/v1/stable/tasks/{TASK}", headers=GOOD).json()
    assert (task["input"], task["output"]) == (shown, shown)


def test_payloads_that_were_left_out_are_said_to_be(client: RestClient, backend: Backend) -> None:
    path = f"/api/v1/stable/tasks/{TASK}"
    task = sdk_models().V1TaskSummary.from_json(client.get(path, headers=GOOD).text)
    assert task is not None
    assert not task.payloads_restricted
    backend.shown = task_view(restricted=True)
    task = sdk_models().V1TaskSummary.from_json(client.get(path, headers=GOOD).text)
    assert task is not None
    assert task.payloads_restricted


def test_a_task_parses_as_the_sdks_model(client: RestClient, backend: Backend) -> None:
    backend.shown = task_view(
        status=RunStatus.SKIPPED, started_at=T0, finished_at=T0.replace(microsecond=223456), metadata='{"k": 1}'
    )
    task = sdk_models().V1TaskSummary.from_json(client.get(f"/api/v1/stable/tasks/{TASK}", headers=GOOD).text)
    assert task is not None
    assert (task.status, task.duration, task.additional_metadata) == ("COMPLETED", 100, {"k": 1})
    assert (task.step_id, task.attempt, task.retry_count, task.type) == (STEP, 2, 1, "TASK")
    for attempt, status in ((2, 200), (1, 404), (0, 400)):
        path = f"/api/v1/stable/tasks/{TASK}?attempt={attempt}"
        assert client.get(path, headers=GOOD).status_code == status


def test_a_list_passes_on_what_was_asked_for(client: RestClient, backend: Backend) -> None:
    path = f"/api/v1/stable/tenants/{TENANT}/workflow-runs"
    answer = client.get(
        path,
        params={
            "since": T0.isoformat(),
            "only_tasks": "true",
            "statuses": ["COMPLETED"],
            "offset": 6,
            "limit": 3,
            "include_payloads": "true",
            "additional_metadata": ["a:b"],
            "additional_metadata_operator": "OR",
            "worker_id": WORKER,
            "parent_task_external_id": RUN,
        },
        headers=GOOD,
    )
    found = sdk_models().V1TaskSummaryList.from_json(answer.text)
    assert found is not None
    assert (found.pagination.current_page, found.pagination.next_page, len(found.rows)) == (3, 4, 3)
    assert backend.selections == [
        RunSelection(
            since=T0,
            statuses=(RunStatus.COMPLETED, RunStatus.SKIPPED),
            metadata=(("a", "b"),),
            tasks=True,
            worker_id=WORKER,
            parent_id=RUN,
        )
    ]
    assert backend.listed == [{"offset": 6, "limit": 3, "payloads": True}]
    client.get(
        path,
        params={"since": T0.isoformat(), "only_tasks": "false", "triggering_event_external_id": RUN},
        headers=GOOD,
    )
    assert backend.selections[1] == RunSelection(since=T0, metadata=(("hatchet__event_id", RUN),), all_metadata=True)
    assert backend.listed[1] == {"offset": 0, "limit": 50, "payloads": False}


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"only_tasks": "true"}, "since"),
        ({"since": "2026-01-02T03:04:05Z"}, "only_tasks"),
        ({"since": "2026-01-02T03:04:05Z", "only_tasks": "true", "limit": 0}, "limit"),
        ({"since": "2026-01-02T03:04:05Z", "only_tasks": "true", "limit": 1001}, "limit"),
        ({"since": "2026-01-02T03:04:05Z", "only_tasks": "true", "offset": -1}, "offset"),
        ({"since": "2026-01-02T03:04:05Z", "only_tasks": "true", "worker_id": "x"}, "worker_id"),
    ],
)
def test_a_bad_list_is_refused_by_name(
    client: RestClient, backend: Backend, params: dict[str, Any], field: str
) -> None:
    answer = client.get(f"/api/v1/stable/tenants/{TENANT}/workflow-runs", params=params, headers=GOOD)
    assert problem(answer)[:2] == (400, field)
    assert backend.selections == []


def test_starting_a_run_answers_with_all_of_it(client: RestClient, backend: Backend) -> None:
    path = f"/api/v1/stable/tenants/{TENANT}/workflow-runs/trigger"
    answer = client.post(path, body={"workflowName": "flow", "input": {"n": 1}, "priority": 2}, headers=GOOD)
    details = sdk_models().V1WorkflowRunDetails.from_json(answer.text)
    assert details is not None
    assert details.run.metadata.id == RUN
    assert backend.started == [("flow", b'{"n": 1}', b"", 2)]
    assert client.post(path, body={"workflowName": "flow", "input": []}, headers=GOOD).status_code == 400


def test_ids_by_filter_is_a_plain_array(client: RestClient, backend: Backend) -> None:
    answer = client.get(
        f"/api/v1/stable/tenants/{TENANT}/workflow-runs/external-ids",
        params={"since": "2026-01-02T03:04:05.123456+00:00", "statuses": ["FAILED"]},
        headers=GOOD,
    )
    assert answer.json() == [RUN]
    assert backend.selections == [RunSelection(since=T0, statuses=(RunStatus.FAILED,))]
