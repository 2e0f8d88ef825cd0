"""A backend that remembers what it was asked, and what tests of the REST edge need around it."""

import importlib
import warnings
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from tests.api.rest_client import Answer
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


def sdk_models() -> ModuleType:
    # The official SDK warns about its own dependencies while it is imported; that is not ours to fix.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("hatchet_sdk.clients.rest.models")


def problem(answer: Answer) -> tuple[int, str | None, str]:
    assert answer.headers["content-type"] == "application/json"
    (entry,) = answer.json()["errors"]
    assert entry["code"] == answer.status_code
    return answer.status_code, entry.get("field"), entry["description"]
