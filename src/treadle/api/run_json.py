"""Runs in the shapes of the contract. Its maps are never null, and it has no word for a skipped task."""

import json
from datetime import datetime
from typing import Any

from treadle.api.backend import EventView, RunDetailsView, RunView, StepView
from treadle.api.times import iso
from treadle.model.states import EventKind, RunStatus

_NOBODY = "00000000-0000-0000-0000-000000000000"

_EVENT_TYPES = {
    EventKind.CREATED: "CREATED",
    EventKind.QUEUED: "QUEUED",
    EventKind.ASSIGNED: "ASSIGNED",
    EventKind.SENT: "SENT_TO_WORKER",
    EventKind.STARTED: "STARTED",
    EventKind.COMPLETED: "FINISHED",
    EventKind.FAILED: "FAILED",
    EventKind.RETRYING: "RETRYING",
    EventKind.CANCELLED: "CANCELLED",
    EventKind.TIMED_OUT: "TIMED_OUT",
    EventKind.SCHEDULING_TIMED_OUT: "SCHEDULING_TIMED_OUT",
    EventKind.REASSIGNED: "REASSIGNED",
    EventKind.HANDED_BACK: "REASSIGNED",
    EventKind.REPLAYED: "RETRIED_BY_USER",
    EventKind.SLOT_RELEASED: "SLOT_RELEASED",
    EventKind.TIMEOUT_REFRESHED: "TIMEOUT_REFRESHED",
    EventKind.SKIPPED: "SKIPPED",
}
"""What happened, in words of the contract; the waiting for conditions has none and is left out."""

_MASK = (1 << 53) - 1


def status_name(status: RunStatus) -> str:
    """The contract's word for a status."""
    return (RunStatus.COMPLETED if status is RunStatus.SKIPPED else status).name


def task_json(view: RunView, tenant: str) -> dict[str, Any]:
    """The contract's V1TaskSummary, also of a workflow run, which has its tasks as children."""
    answer: dict[str, Any] = {
        "metadata": _metadata(view),
        "displayName": _display_name(view),
        "status": status_name(view.status),
        "type": "TASK" if view.step_id else "DAG",
        "input": _object(view.input),
        "output": _object(view.output),
        "numSpawnedChildren": view.spawned,
        "taskExternalId": view.id,
        "taskId": _number(view.id),
        "taskInsertedAt": iso(view.created_at),
        "createdAt": iso(view.created_at),
        "tenantId": tenant,
        "workflowId": view.workflow_id,
        "workflowName": view.workflow_name,
        "workflowVersionId": view.version_id,
        "workflowRunExternalId": view.run_id,
        "additionalMetadata": json.loads(view.metadata or "{}"),
        "attempt": view.attempt,
        "retryCount": view.attempt - 1,
        "isDurable": view.is_durable,
        "isEvicted": False,
        "children": [task_json(step, tenant) for step in view.steps],
    }
    if view.restricted:
        answer["payloadsRestricted"] = True
    if view.step_id:
        answer |= {"stepId": view.step_id, "actionId": view.action}
    return answer | _ending(view)


def details_json(details: RunDetailsView, tenant: str) -> dict[str, Any]:
    """The contract's V1WorkflowRunDetails."""
    run = details.run
    return {
        "run": {
            "metadata": _metadata(run),
            "status": status_name(run.status),
            "displayName": _display_name(run),
            "tenantId": tenant,
            "workflowId": run.workflow_id,
            "workflowVersionId": run.version_id,
            "input": _object(run.input),
            "output": _object(run.output),
            "additionalMetadata": json.loads(run.metadata or "{}"),
            "createdAt": iso(run.created_at),
        }
        | _ending(run),
        "tasks": [task_json(task, tenant) for task in details.tasks],
        "shape": [_shape_json(step) for step in details.shape],
        "taskEvents": [
            _event_json(number, event) for number, event in enumerate(details.events) if event.kind in _EVENT_TYPES
        ],
    }


def _ending(view: RunView) -> dict[str, Any]:
    """What is left out as long as it is not known."""
    answer: dict[str, Any] = {}
    if view.started_at is not None:
        answer["startedAt"] = iso(view.started_at)
    if view.finished_at is not None:
        answer["finishedAt"] = iso(view.finished_at)
        if view.started_at is not None:
            answer["duration"] = max(round((view.finished_at - view.started_at).total_seconds() * 1000), 0)
    if view.error:
        answer["errorMessage"] = view.error
    if view.parent_id is not None:
        answer["parentTaskExternalId"] = view.parent_id
    return answer


def _shape_json(step: StepView) -> dict[str, Any]:
    return {
        "taskExternalId": step.task_id or _NOBODY,
        "stepId": step.step_id,
        "childrenStepIds": list(step.children),
        "taskName": step.name,
    }


def _event_json(number: int, event: EventView) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "id": number,
        "taskId": event.task_id,
        "timestamp": iso(event.at),
        "eventType": _EVENT_TYPES[event.kind],
        "message": event.detail or "",
        "taskDisplayName": event.name,
        "attempt": event.attempt,
        "retryCount": max(event.attempt - 1, 0),
    }
    if event.kind is EventKind.FAILED and event.detail:
        answer["errorMessage"] = event.detail
    return answer


def _metadata(view: RunView) -> dict[str, str]:
    return {"id": view.id, "createdAt": iso(view.created_at), "updatedAt": iso(_touched(view))}


def _touched(view: RunView) -> datetime:
    return view.finished_at or view.started_at or view.created_at


def _display_name(view: RunView) -> str:
    return f"{view.name}-{int(view.created_at.timestamp() * 1000)}"


def _number(id_: str) -> int:
    """The contract numbers tasks: here by what is random in their ids, and small enough for every language."""
    return int(id_.replace("-", ""), 16) & _MASK


def _object(payload: bytes | None) -> dict[str, Any]:
    """A payload where the contract wants an object: other values are put into one."""
    if not payload:
        return {}
    value = json.loads(payload)
    return value if isinstance(value, dict) else {} if value is None else {"value": value}
