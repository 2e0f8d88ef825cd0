"""Runs as they are now: v1.AdminService/GetRunDetails, and Get and List of treadle.v1.Runs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from treadle.model.errors import InvalidInput, NotFound
from treadle.model.ids import canonical_id
from treadle.model.states import TERMINAL
from treadle.runtime.clock import moment
from treadle.storage import read as rows
from treadle.wire.convert import HATCHET_STATUS, TREADLE_STATUS, datetime_of, statuses_of, time_us, treadle_time, us_of
from treadle.wire.gen.hatchet.v1 import workflows_pb2 as pb
from treadle.wire.gen.treadle.v1 import runs_pb2, worker_pb2
from treadle.wire.ids import checked_id

if TYPE_CHECKING:
    from treadle.engine.catalog import Catalog
    from treadle.runtime.clock import Clock
    from treadle.storage.database import Conn, Database
    from treadle.storage.read import RunRow
    from treadle.wire.serving import Caller, Handlers

MAX_LISTED = 1000
DEFAULT_LISTED = 50
MAX_EVENTS = 1000
MAX_LOGS = 1000


class Runs:
    """Serves what is known of runs.

    Args:
        database: where they are.
        catalog: names of their tasks.
        clock: the time.
    """

    def __init__(self, *, database: Database, catalog: Catalog, clock: Clock) -> None:
        self._database = database
        self._catalog = catalog
        self._clock = clock

    def handlers(self) -> Handlers:
        """What this module serves."""
        return {
            "/v1.AdminService/GetRunDetails": self.get_run_details,
            "/treadle.v1.Runs/Get": self.get,
            "/treadle.v1.Runs/List": self.list,
        }

    async def get_run_details(self, request: pb.GetRunDetailsRequest, caller: Caller) -> pb.GetRunDetailsResponse:
        """One run, in the words of the Hatchet contract."""
        task_id = checked_id(request.external_id, "external_id")
        async with self._database.connection() as conn:
            run, payloads = await self._one(conn, caller, task_id, "external_id")
            kind = self._catalog.kind(run.version, run.step)
        detail = pb.TaskRunDetail(
            external_id=task_id, status=HATCHET_STATUS[run.status], readable_id=kind.definition.readable_id
        )
        if payloads.error is not None:
            detail.error = payloads.error
        if payloads.output is not None:
            detail.output = payloads.output
        return pb.GetRunDetailsResponse(
            input=payloads.input,
            status=HATCHET_STATUS[run.status],
            task_runs={kind.definition.readable_id: detail},
            done=run.status in TERMINAL,
            additional_metadata=(run.metadata or "{}").encode(),
        )

    async def get(self, request: runs_pb2.GetRunRequest, caller: Caller) -> runs_pb2.RunDetail:
        """One run with payloads, history and logs."""
        task_id = checked_id(request.id, "id")
        async with self._database.connection() as conn:
            run, payloads = await self._one(conn, caller, task_id, "id")
            until = (run.finished_at or moment(self._clock.now())) + timedelta(seconds=1)
            events = await rows.run_events(
                conn, tenant_id=caller.tenant_id, id=task_id, since=run.created_at, until=until, limit=MAX_EVENTS
            )
            logs = await rows.run_logs(conn, tenant_id=caller.tenant_id, id=task_id, limit=MAX_LOGS)
        return runs_pb2.RunDetail(
            run=self._summary(run),
            input=payloads.input,
            output=payloads.output or b"",
            error=payloads.error or "",
            events=[
                runs_pb2.RunEvent(
                    at=treadle_time(us_of(event.at)),
                    kind=event.kind.name,
                    attempt=event.attempt,
                    detail=event.detail or "",
                )
                for event in events
            ],
            logs=[
                worker_pb2.LogLine(
                    task_id=task_id,
                    attempt=line.attempt,
                    at_us=us_of(line.at),
                    level=line.level,
                    message=line.message,
                    metadata=line.metadata or "",
                )
                for line in logs
            ],
        )

    async def list(self, request: runs_pb2.ListRunsRequest, caller: Caller) -> runs_pb2.ListRunsResponse:
        """Runs by filter, newest first, a page at a time."""
        limit = request.limit or DEFAULT_LISTED
        if not 1 <= limit <= MAX_LISTED:
            raise InvalidInput("limit", f"must be 1 to {MAX_LISTED}, not {request.limit}")
        before = parent = None
        if request.before:
            before = canonical_id(request.before)
            if before is None:
                raise InvalidInput("before", "must be an id that an earlier page ended with")
        if request.parent_id:
            parent = checked_id(request.parent_id, "parent_id")
        wanted = rows.RunFilter(
            statuses=statuses_of(request.statuses, "statuses"),
            since=datetime_of(time_us(request.since, "since")) if request.HasField("since") else None,
            until=datetime_of(time_us(request.until, "until")) if request.HasField("until") else None,
            names=list(request.tasks),
            parent_id=parent,
            before=before,
        )
        async with self._database.connection() as conn:
            ids = await rows.find_runs(conn, tenant_id=caller.tenant_id, wanted=wanted, limit=limit)
            found = await rows.run_rows(conn, tenant_id=caller.tenant_id, ids=ids)
            await self._catalog.load_versions(conn, (run.version for run in found))
        return runs_pb2.ListRunsResponse(
            runs=[self._summary(run) for run in found], next_before=ids[-1] if len(ids) == limit else ""
        )

    async def _one(self, conn: Conn, caller: Caller, task_id: str, field: str) -> tuple[RunRow, rows.Payloads]:
        found = await rows.run_rows(conn, tenant_id=caller.tenant_id, ids=[task_id])
        payloads = await rows.payloads(conn, tenant_id=caller.tenant_id, id=task_id)
        if not found or payloads is None:
            raise NotFound(field, f"no run {task_id}")
        await self._catalog.load_versions(conn, [found[0].version])
        return found[0], payloads

    def _summary(self, run: RunRow) -> runs_pb2.RunSummary:
        summary = runs_pb2.RunSummary(
            id=run.id,
            task=self._catalog.kind(run.version, run.step).workflow_name,
            status=TREADLE_STATUS[run.status],
            attempt=run.attempt,
            retries_used=run.retries_used,
            priority=run.priority,
            created_at=treadle_time(us_of(run.created_at)),
            worker_id=run.worker_id or "",
            parent_id=run.parent_id or "",
            metadata=run.metadata or "",
            error=(run.error or "").partition("\n")[0],
        )
        if run.started_at is not None:
            summary.started_at.CopyFrom(treadle_time(us_of(run.started_at)))
        if run.finished_at is not None:
            summary.finished_at.CopyFrom(treadle_time(us_of(run.finished_at)))
        return summary
