"""The REST edge over a backend that remembers what it was asked; answers are parsed with the SDK's own models."""

import re
from typing import Any

import pytest

from tests.api.fake_backend import (
    FOREIGN_WORKER,
    GOOD,
    OTHER_TENANT,
    RUN,
    T0,
    TENANT,
    WORKER,
    Backend,
    problem,
    sdk_models,
)
from tests.api.rest_client import RestClient
from treadle.api.app import create_app
from treadle.model.ids import new_id

OPEN_PATHS = {"/api/live", "/api/ready", "/api/v1/meta"}


def test_health_needs_no_token_and_names_the_reason(client: RestClient, backend: Backend) -> None:
    assert client.get("/api/live").status_code == 200
    assert client.get("/api/ready").json() == {"status": "ok"}
    backend.concern = "partitions are missing"
    assert client.get("/api/ready").json() == {"status": "ok", "warning": "partitions are missing"}
    backend.reason = "waiting for the scheduler seat"
    assert problem(client.get("/api/ready")) == (503, None, "waiting for the scheduler seat")
    assert client.get("/api/live").status_code == 200


def test_meta_parses_as_the_sdks_model(client: RestClient) -> None:
    answer = client.get("/api/v1/meta")
    assert sdk_models().APIMeta.from_json(answer.text) is not None
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
    worker = sdk_models().Worker.from_json(answer.text)
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


def test_another_tenants_path_is_refused(client: RestClient, backend: Backend) -> None:
    path = f"/api/v1/stable/tenants/{OTHER_TENANT}/tasks/cancel"
    answer = client.post(path, body={"externalIds": [RUN]}, headers=GOOD)
    assert problem(answer)[:2] == (403, "tenant")
    assert backend.selections == []


@pytest.mark.parametrize("path", ["/api/v1/stable/nothing", "/api/ready/", "/api/v1/x-ready", "/api/docs", "/"])
def test_what_no_route_serves_is_404_in_the_contracts_shape(client: RestClient, path: str) -> None:
    assert problem(client.get(path, headers=GOOD))[0] == 404


def test_a_wrong_method_is_405(client: RestClient) -> None:
    assert problem(client.post("/api/live"))[0] == 405


def test_a_failure_inside_says_nothing_about_the_inside(client: RestClient) -> None:
    answer = client.post(f"/api/v1/stable/tenants/{TENANT}/tasks/replay", body={"externalIds": [RUN]}, headers=GOOD)
    assert answer.status_code == 500
    assert "secret" not in answer.text


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_over_the_limit_is_refused(client: RestClient, backend: Backend, chunked: bool) -> None:
    body: Any = iter([b" " * 6_000] * 2) if chunked else b" " * 12_000
    path = f"/api/v1/stable/tenants/{TENANT}/tasks/cancel"
    answer = client.post(path, content=body, headers=GOOD | {"Content-Type": "application/json"})
    assert problem(answer)[0] == 413
    assert backend.selections == []


def test_answers_are_not_cached_sniffed_or_framed(client: RestClient) -> None:
    for path in ("/api/live", "/nowhere"):
        headers = client.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
