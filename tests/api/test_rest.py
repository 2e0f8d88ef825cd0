"""The REST edge over a backend that remembers what it was asked; answers are parsed with the SDK's own models."""

import importlib
import re
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest

from tests.api.rest_client import Answer, RestClient, served
from treadle.api.app import create_app
from treadle.api.backend import (
    EventView,
    Principal,
    RunDetailsView,
    RunSelection,
    RunView,
    SlotView,
    StepView,
    WorkerView,
)
from treadle.model.errors import NotFound, PermissionDenied
from treadle.model.ids import new_id
from treadle.model.states import EventKind, RunStatus

TENANT = new_id()
OTHER_TENANT = new_id()
WORKER = new_id()
FOREIGN_WORKER = new_id()
RUN = new_id()
GOOD = {"Authorization": "Bearer good"}
OPEN_PATHS = {"/api/live", "/api/ready", "/api/v1/meta"}
TASK = new_id()
STEP = new_id()
T0 = datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)


def task_view(**fields: Any) -> RunView:
    known: dict[str, Any] = {
        "id": TASK,
        "run_id": RUN,
        "name": "step",
        "workflow_id": new_id(),
        "workflow_name": "flow",
        "version_id": new_id(),
        "status": RunStatus.RUNNING,
        "attempt": 2,
        "created_at": T0,
        "step_id": STEP,
        "action": "flow:step",
    }
    return RunView(**known | fields)


class Backend:
    """Answers from memory."""

    version = "0.0.0"

    def __init__(self) -> None:
        self.reason: str | None = None
        self.concern: str | None = None
        self.paused = False
        self.selections: list[RunSelection] = []
        self.shown = task_view()
        self.listed: list[dict[str, Any]] = []
        self.started: list[tuple[Any, ...]] = []

    def why_not_ready(self) -> str | None:
        return self.reason

    def warning(self) -> str | None:
        return self.concern

    async def authenticate(self, token: str) -> Principal:
        if token != "good":
            raise PermissionDenied("authorization", "the token is not valid")
        return Principal(tenant_id=TENANT, token_id="t")

    async def worker(self, caller: Principal, worker_id: str) -> WorkerView:
        assert caller.tenant_id == TENANT
        if worker_id == FOREIGN_WORKER:
            raise PermissionDenied("worker", "belongs to another tenant")
        if worker_id != WORKER:
            raise NotFound("worker", "no such worker")
        return WorkerView(
            id=WORKER,
            name="w",
            status="PAUSED" if self.paused else "ACTIVE",
            created_at=T0,
            updated_at=T0,
            last_heartbeat_at=T0,
            actions=("a:b",),
            slots={"default": SlotView(available=3, limit=5)},
            labels={"zone": "1"},
            sdk_version="1.43.1",
            language="PYTHON",
        )

    async def pause_worker(self, caller: Principal, worker_id: str, *, paused: bool) -> WorkerView:
        await self.worker(caller, worker_id)
        self.paused = paused
        return await self.worker(caller, worker_id)

    async def run_status(self, caller: Principal, run_id: str) -> RunStatus:
        assert caller.tenant_id == TENANT
        if run_id != RUN:
            raise NotFound("run", "no such run")
        return RunStatus.RUNNING

    async def run(self, caller: Principal, run_id: str) -> RunDetailsView:
        await self.run_status(caller, run_id)
        return RunDetailsView(
            run=task_view(id=RUN, name="flow", step_id=None, action="", output=b'{"step":1}'),
            tasks=(self.shown,),
            events=(
                EventView(T0, EventKind.WAITING, TASK, "step", 1),
                EventView(T0, EventKind.FAILED, TASK, "step", 1, "Boom"),
                EventView(T0, EventKind.SKIPPED, TASK, "step", 2),
            ),
            shape=(StepView(STEP, "step", (OTHER_TENANT,), TASK), StepView(OTHER_TENANT, "later", ())),
        )

    async def task(self, caller: Principal, task_id: str) -> RunView:
        assert caller.tenant_id == TENANT
        if task_id != TASK:
            raise NotFound("task", "no such task")
        return self.shown

    async def list_runs(
        self, caller: Principal, selection: RunSelection, *, offset: int, limit: int, payloads: bool
    ) -> list[RunView]:
        assert caller.tenant_id == TENANT
        self.selections.append(selection)
        self.listed.append({"offset": offset, "limit": limit, "payloads": payloads})
        return [self.shown] * min(limit, 3)

    async def start_run(
        self, caller: Principal, name: str, payload: bytes, metadata: bytes, priority: int | None
    ) -> str:
        assert caller.tenant_id == TENANT
        self.started.append((name, payload, metadata, priority))
        return RUN

    async def find_runs(self, caller: Principal, selection: RunSelection) -> list[str]:
        return await self.cancel_runs(caller, selection)

    async def cancel_runs(self, caller: Principal, selection: RunSelection) -> list[str]:
        assert caller.tenant_id == TENANT
        self.selections.append(selection)
        return [RUN]

    async def replay_runs(self, caller: Principal, selection: RunSelection) -> list[str]:
        raise RuntimeError(f"secret detail of {caller} {selection}")


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def client(backend: Backend) -> Iterator[RestClient]:
    with served(create_app(backend, max_body_bytes=10_000)) as client:
        yield client


def _sdk_models() -> ModuleType:
    # The official SDK warns about its own dependencies while it is imported; that is not ours to fix.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("hatchet_sdk.clients.rest.models")


def _problem(answer: Answer) -> tuple[int, str | None, str]:
    assert answer.headers["content-type"] == "application/json"
    (entry,) = answer.json()["errors"]
    assert entry["code"] == answer.status_code
    return answer.status_code, entry.get("field"), entry["description"]


def test_health_needs_no_token_and_names_the_reason(client: RestClient, backend: Backend) -> None:
    assert client.get("/api/live").status_code == 200
    assert client.get("/api/ready").json() == {"status": "ok"}
    backend.concern = "partitions are missing"
    assert client.get("/api/ready").json() == {"status": "ok", "warning": "partitions are missing"}
    backend.reason = "waiting for the scheduler seat"
    assert _problem(client.get("/api/ready")) == (503, None, "waiting for the scheduler seat")
    assert client.get("/api/live").status_code == 200


def test_meta_parses_as_the_sdks_model(client: RestClient) -> None:
    answer = client.get("/api/v1/meta")
    assert _sdk_models().APIMeta.from_json(answer.text) is not None
    assert answer.json()["authDisabled"] is False


def test_every_route_but_the_open_ones_refuses_a_caller_without_a_token(client: RestClient, backend: Backend) -> None:
    seen = 0
    for path, methods in create_app(backend).openapi()["paths"].items():
        if path in OPEN_PATHS:
            continue
        filled = re.sub(r"\{\w+\}", TENANT, path)
        for method in methods:
            for headers in ({}, {"Authorization": "Bearer bad"}, {"Authorization": "Basic Z29vZA=="}):
                answer = client.request(method.upper(), filled, headers=headers)
                assert answer.status_code == 403, (method, path)
                seen += 1
    assert seen >= 15


def test_pausing_a_worker_answers_with_a_worker_that_the_sdk_can_read(client: RestClient, backend: Backend) -> None:
    answer = client.patch(f"/api/v1/workers/{WORKER}", body={"isPaused": True}, headers=GOOD)
    assert answer.status_code == 200
    worker = _sdk_models().Worker.from_json(answer.text)
    assert worker is not None
    assert (worker.metadata.id, worker.status) == (WORKER, "PAUSED")
    assert worker.metadata.created_at == T0
    assert worker.slot_config is not None
    assert worker.slot_config["default"].available == 3
    assert backend.paused
    client.patch(f"/api/v1/workers/{WORKER}", body={"isPaused": False}, headers=GOOD)
    assert not backend.paused
    client.patch(f"/api/v1/workers/{WORKER}", body={}, headers=GOOD)
    assert not backend.paused


@pytest.mark.parametrize(
    ("worker", "status"), [("not-an-id", 400), (new_id(), 404), (FOREIGN_WORKER, 403), (WORKER, 200)]
)
def test_lookup_by_id(client: RestClient, worker: str, status: int) -> None:
    assert client.get(f"/api/v1/workers/{worker}", headers=GOOD).status_code == status


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
    status, named, _ = _problem(answer)
    assert (status, named) == (400, field)
    assert backend.selections == []


def test_another_tenants_path_is_refused(client: RestClient, backend: Backend) -> None:
    path = f"/api/v1/stable/tenants/{OTHER_TENANT}/tasks/cancel"
    answer = client.post(path, body={"externalIds": [RUN]}, headers=GOOD)
    assert _problem(answer)[:2] == (403, "tenant")
    assert backend.selections == []


def test_run_status_is_a_bare_string(client: RestClient) -> None:
    assert client.get(f"/api/v1/stable/workflow-runs/{RUN}/status", headers=GOOD).json() == "RUNNING"
    assert client.get(f"/api/v1/stable/workflow-runs/{TENANT}/status", headers=GOOD).status_code == 404


def test_a_run_parses_as_the_sdks_model(client: RestClient) -> None:
    answer = client.get(f"/api/v1/stable/workflow-runs/{RUN}", headers=GOOD)
    details = _sdk_models().V1WorkflowRunDetails.from_json(answer.text)
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


def test_a_task_parses_as_the_sdks_model(client: RestClient, backend: Backend) -> None:
    backend.shown = task_view(
        status=RunStatus.SKIPPED, started_at=T0, finished_at=T0.replace(microsecond=223456), metadata='{"k": 1}'
    )
    task = _sdk_models().V1TaskSummary.from_json(client.get(f"/api/v1/stable/tasks/{TASK}", headers=GOOD).text)
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
    found = _sdk_models().V1TaskSummaryList.from_json(answer.text)
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
    assert _problem(answer)[:2] == (400, field)
    assert backend.selections == []


def test_starting_a_run_answers_with_all_of_it(client: RestClient, backend: Backend) -> None:
    path = f"/api/v1/stable/tenants/{TENANT}/workflow-runs/trigger"
    answer = client.post(path, body={"workflowName": "flow", "input": {"n": 1}, "priority": 2}, headers=GOOD)
    details = _sdk_models().V1WorkflowRunDetails.from_json(answer.text)
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


@pytest.mark.parametrize("path", ["/api/v1/stable/nothing", "/api/ready/", "/api/v1/x-ready", "/api/docs", "/"])
def test_what_no_route_serves_is_404_in_the_contracts_shape(client: RestClient, path: str) -> None:
    assert _problem(client.get(path, headers=GOOD))[0] == 404


def test_a_wrong_method_is_405(client: RestClient) -> None:
    assert _problem(client.post("/api/live"))[0] == 405


def test_a_failure_inside_says_nothing_about_the_inside(client: RestClient) -> None:
    answer = client.post(f"/api/v1/stable/tenants/{TENANT}/tasks/replay", body={"externalIds": [RUN]}, headers=GOOD)
    assert answer.status_code == 500
    assert "secret" not in answer.text


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_over_the_limit_is_refused(client: RestClient, backend: Backend, chunked: bool) -> None:
    body: Any = iter([b" " * 6_000] * 2) if chunked else b" " * 12_000
    path = f"/api/v1/stable/tenants/{TENANT}/tasks/cancel"
    answer = client.post(path, content=body, headers=GOOD | {"Content-Type": "application/json"})
    assert _problem(answer)[0] == 413
    assert backend.selections == []


def test_answers_are_not_cached_sniffed_or_framed(client: RestClient) -> None:
    for path in ("/api/live", "/nowhere"):
        headers = client.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
