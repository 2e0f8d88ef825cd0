"""Runs: the status of one, the ids of many, cancel and replay by ids or by filter."""

from datetime import UTC, datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from treadle.api.backend import RunSelection
from treadle.api.callers import Backend, Caller, Member, read_id
from treadle.model.errors import InvalidInput
from treadle.model.states import RunStatus

router = APIRouter(prefix="/api/v1/stable")
_tenant_router = APIRouter(prefix="/tenants/{tenant}")

MAX_IDS = 10_000


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


@router.get("/workflow-runs/{run}/status")
async def run_status(run: str, caller: Caller, backend: Backend) -> str:
    """A bare JSON string: that is what the SDKs parse."""
    return (await backend.run_status(caller, read_id(run, "v1-workflow-run"))).name


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
