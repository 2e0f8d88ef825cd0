"""What several tests ask of a run, a worker or the account of its effects."""

import asyncio
from typing import Any, Protocol, TypeVar

from hatchet_sdk import Hatchet
from hatchet_sdk.clients.admin import RunStatus, WorkflowRunDetail

from tests.conformance.harness import Lab
from tests.support.eventually import eventually
from tests.wire_edge.raw import RawClient

R_co = TypeVar("R_co", covariant=True)


class HasSyncResult(Protocol[R_co]):
    def result(self) -> R_co: ...


async def sync_result(run: HasSyncResult[R_co]) -> R_co:
    """The result as a sync caller gets it: by polling details, and with an error for a cancelled run."""
    return await asyncio.to_thread(run.result)


async def started(lab: Lab, mark: str, *, times: int = 1, timeout: float = 15) -> list[dict[str, Any]]:  # noqa: ASYNC109 - the time for polling
    """Wait until tasks with this mark have started; what they told."""

    def check() -> None:
        assert len(lab.effects.read(mark, "started")) >= times

    await eventually(check, timeout=timeout)
    return [effect.facts for effect in lab.effects.read(mark, "started")]


async def status_becomes(hatchet: Hatchet, run_id: str, status: RunStatus) -> None:
    async def check() -> WorkflowRunDetail:
        details = await hatchet.runs.aio_get_details(run_id)
        assert details.status is status
        return details

    details: WorkflowRunDetail = await eventually(check)
    assert details.status is status


async def event_kinds(raw: RawClient, run_id: str) -> list[str]:
    """The history of a run by the engine's own account."""
    detail = await raw.call("/treadle.v1.Runs/Get", id=run_id)
    return [event.kind for event in detail.events]
