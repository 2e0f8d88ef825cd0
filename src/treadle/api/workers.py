"""Workers: show one, pause one. The official SDK pauses its worker here before it stops."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from treadle.api.backend import WorkerView
from treadle.api.callers import Backend, Caller, read_id
from treadle.api.times import iso

router = APIRouter(prefix="/api/v1")


class WorkerChange(BaseModel):
    """What may be changed about a worker; a part that is absent stays as it is."""

    model_config = ConfigDict(populate_by_name=True)

    is_paused: bool | None = Field(default=None, alias="isPaused", strict=True)


@router.get("/workers/{worker}")
async def get_worker(worker: str, caller: Caller, backend: Backend) -> dict[str, Any]:
    return worker_json(await backend.worker(caller, read_id(worker, "worker")))


@router.patch("/workers/{worker}")
async def change_worker(worker: str, change: WorkerChange, caller: Caller, backend: Backend) -> dict[str, Any]:
    worker_id = read_id(worker, "worker")
    if change.is_paused is None:
        return worker_json(await backend.worker(caller, worker_id))
    return worker_json(await backend.pause_worker(caller, worker_id, paused=change.is_paused))


def worker_json(view: WorkerView) -> dict[str, Any]:
    """The contract's Worker. Optional times are left out when unknown; lists and maps are never null."""
    answer: dict[str, Any] = {
        "metadata": _metadata(view.id, view),
        "name": view.name,
        "type": "SELFHOSTED",
        "status": view.status,
        "actions": list(view.actions),
        "registeredWorkflows": [],
        "slots": [],
        "recentStepRuns": [],
        "slotConfig": {
            kind: {"available": slots.available, "limit": slots.limit} for kind, slots in view.slots.items()
        },
        "labels": [
            {"metadata": _metadata(view.id, view), "key": key, "value": value} for key, value in view.labels.items()
        ],
    }
    runtime = {
        "sdkVersion": view.sdk_version,
        "language": view.language,
        "languageVersion": view.language_version,
        "os": view.os,
        "runtimeExtra": view.runtime_extra,
    }
    if known := {key: value for key, value in runtime.items() if value}:
        answer["runtimeInfo"] = known
    if view.last_heartbeat_at is not None:
        answer["lastHeartbeatAt"] = iso(view.last_heartbeat_at)
    if view.last_listener_at is not None:
        answer["lastListenerEstablished"] = iso(view.last_listener_at)
    return answer


def _metadata(resource_id: str, view: WorkerView) -> dict[str, str]:
    return {"id": resource_id, "createdAt": iso(view.created_at), "updatedAt": iso(view.updated_at)}
