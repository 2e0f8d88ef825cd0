"""Runs: one, many, and their tasks; starting one; cancel and replay by ids or by filter."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from treadle.api.backend import RunSelection
from treadle.api.callers import Backend, Caller, Member, read_id
from treadle.api.run_json import details_json, status_name, task_json
from treadle.model.errors import InvalidInput, NotFound
from treadle.model.states import RunStatus

router = APIRouter(prefix="/api/v1/stable")
_tenant_router = APIRouter(prefix="/tenants/{tenant}")

MAX_IDS = 10_000
MAX_LISTED = 1000
MAX_OFFSET = 100_000
_EVENT_KEY = "hatchet__event_id"


class RunFilter(BaseModel):
    """Every part that is given must hold; `since` bounds the creation time and is never left out."""

    model_config = ConfigDict(populate_by_name=True)

    since: datetime
    until: datetime | None = None
    statuses: list[str] | None = None
    workflow_ids: list[str] | None = Field(default=None, alias="workflowIds")
    additional_metadata: list[str] | None = Field(default=None, alias="additionalMetadata")


class RunSelector(BaseModel):
    """Ids or a filter, never both."""

    model_config = ConfigDict(populate_by_name=True)

    external_ids: list[str] | None = Field(default=None, alias="externalIds", max_length=MAX_IDS)
    filter: RunFilter | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.external_ids is None) == (self.filter is None):
            raise ValueError("give either externalIds or filter")
        return self

    def selection(self) -> RunSelection:
        if self.filter is None:
            return RunSelection(ids=tuple(read_id(text, "externalIds") for text in self.external_ids or ()))
        return _selection(
            since=self.filter.since,
            until=self.filter.until,
            statuses=self.filter.statuses,
            workflow_ids=self.filter.workflow_ids,
            metadata=self.filter.additional_metadata,
        )


class NewRun(BaseModel):
    """A run to be started by the name of its workflow."""

    model_config = ConfigDict(populate_by_name=True)

    workflow_name: str = Field(alias="workflowName")
    input: dict[str, Any]
    additional_metadata: dict[str, Any] | None = Field(default=None, alias="additionalMetadata")
    priority: int | None = None


@_tenant_router.get("/workflow-runs")
async def list_runs(
    caller: Member,
    backend: Backend,
    since: datetime,
    only_tasks: bool,
    until: datetime | None = None,
    offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 50,
    statuses: Annotated[list[str] | None, Query()] = None,
    workflow_ids: Annotated[list[str] | None, Query()] = None,
    additional_metadata: Annotated[list[str] | None, Query()] = None,
    additional_metadata_operator: Literal["AND", "OR"] = "AND",
    worker_id: str | None = None,
    parent_task_external_id: str | None = None,
    triggering_event_external_id: str | None = None,
    include_payloads: bool = False,
) -> dict[str, Any]:
    """A page of runs, newest first; of tasks instead of workflow runs when only those are wanted."""
    metadata = list(additional_metadata or ())
    if triggering_event_external_id is not None:
        metadata.append(f"{_EVENT_KEY}:{read_id(triggering_event_external_id, 'triggering_event_external_id')}")
    selection = _selection(since=since, until=until, statuses=statuses, workflow_ids=workflow_ids, metadata=metadata)
    if only_tasks and RunStatus.COMPLETED in selection.statuses:
        # Shown as completed, so they are to be found as such.
        selection = replace(selection, statuses=(*selection.statuses, RunStatus.SKIPPED))
    selection = replace(
        selection,
        all_metadata=additional_metadata_operator == "AND" or triggering_event_external_id is not None,
        tasks=only_tasks,
        worker_id=None if worker_id is None else read_id(worker_id, "worker_id"),
        parent_id=None
        if parent_task_external_id is None
        else read_id(parent_task_external_id, "parent_task_external_id"),
    )
    found = await backend.list_runs(caller, selection, offset=offset, limit=limit, payloads=include_payloads)
    page = offset // limit + 1
    pagination = {"current_page": page}
    if len(found) == limit:
        pagination["next_page"] = page + 1
    return {"pagination": pagination, "rows": [task_json(run, caller.tenant_id) for run in found]}


@_tenant_router.post("/workflow-runs/trigger")
async def start_run(new: NewRun, caller: Member, backend: Backend) -> dict[str, Any]:
    """Start a run; answered with all there is to see of it."""
    metadata = b"" if new.additional_metadata is None else json.dumps(new.additional_metadata).encode()
    payload = json.dumps(new.input).encode()
    run_id = await backend.start_run(caller, new.workflow_name, payload, metadata, new.priority)
    return details_json(await backend.run(caller, run_id), caller.tenant_id)


@_tenant_router.post("/tasks/cancel")
async def cancel(selector: RunSelector, caller: Member, backend: Backend) -> dict[str, list[str]]:
    return {"ids": await backend.cancel_runs(caller, selector.selection())}


@_tenant_router.post("/tasks/replay")
async def replay(selector: RunSelector, caller: Member, backend: Backend) -> dict[str, list[str]]:
    return {"ids": await backend.replay_runs(caller, selector.selection())}


@_tenant_router.get("/workflow-runs/external-ids")
async def external_ids(
    caller: Member,
    backend: Backend,
    since: datetime,
    until: datetime | None = None,
    statuses: Annotated[list[str] | None, Query()] = None,
    workflow_ids: Annotated[list[str] | None, Query()] = None,
    additional_metadata: Annotated[list[str] | None, Query()] = None,
) -> list[str]:
    selection = _selection(
        since=since,
        until=until,
        statuses=statuses,
        workflow_ids=workflow_ids,
        metadata=additional_metadata,
    )
    return await backend.find_runs(caller, selection)


@router.get("/workflow-runs/{run}")
async def get_run(run: str, caller: Caller, backend: Backend) -> dict[str, Any]:
    """A run with its tasks, their history, and the shape of its workflow."""
    return details_json(await backend.run(caller, read_id(run, "v1-workflow-run")), caller.tenant_id)


@router.get("/workflow-runs/{run}/status")
async def run_status(run: str, caller: Caller, backend: Backend) -> str:
    """A bare JSON string: that is what the SDKs parse."""
    return status_name(await backend.run_status(caller, read_id(run, "v1-workflow-run")))


@router.get("/tasks/{task}")
async def get_task(
    task: str, caller: Caller, backend: Backend, attempt: Annotated[int | None, Query(ge=1)] = None
) -> dict[str, Any]:
    """One task, as its newest attempt has it."""
    found = await backend.task(caller, read_id(task, "task"))
    if attempt is not None and attempt != found.attempt:
        raise NotFound("attempt", f"only the newest attempt, {found.attempt}, is kept")
    return task_json(found, caller.tenant_id)


router.include_router(_tenant_router)


def _selection(
    *,
    since: datetime,
    until: datetime | None,
    statuses: list[str] | None,
    workflow_ids: list[str] | None,
    metadata: list[str] | None,
) -> RunSelection:
    return RunSelection(
        since=_aware(since),
        until=None if until is None else _aware(until),
        statuses=tuple(_status(name) for name in statuses or ()),
        workflow_ids=tuple(read_id(text, "workflowIds") for text in workflow_ids or ()),
        metadata=tuple(_pair(text) for text in metadata or ()),
    )


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _status(name: str) -> RunStatus:
    try:
        return RunStatus[name]
    except KeyError:
        raise InvalidInput("statuses", f"unknown status {name!r}") from None


def _pair(text: str) -> tuple[str, str]:
    key, colon, value = text.partition(":")
    if not colon or not key:
        raise InvalidInput("additionalMetadata", "each entry is key:value")
    return key, value
