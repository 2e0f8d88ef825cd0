"""Runs as they are now: v1.AdminService/GetRunDetails, and Get and List of treadle.v1.Runs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from treadle.model.errors import InvalidInput, NotFound
from treadle.model.ids import canonical_id
from treadle.model.states import TERMINAL
from treadle.monitor.results import add_tasks
from treadle.monitor.steps import (
    Step,
    WholeRun,
    ends_of,
    fitting,
    named_outputs,
    step_ids,
    whole_run,
    without_reasons,
)
from treadle.runtime.clock import moment
from treadle.storage import read as rows
from treadle.storage.find import RunFilter, find_runs
from treadle.wire.convert import HATCHET_STATUS, TREADLE_STATUS, datetime_of, statuses_of, time_us, treadle_time, us_of
from treadle.wire.gen.hatchet.v1 import workflows_pb2 as pb
from treadle.wire.gen.treadle.v1 import runs_pb2, worker_pb2
from treadle.wire.ids import checked_id

if TYPE_CHECKING:
    from treadle.engine.catalog import Catalog
    from treadle.engine.ports import StepEnd
    from treadle.runtime.clock import Clock
    from treadle.storage.database import Conn, Database
    from treadle.storage.read import RunRow
    from treadle.wire.serving import Caller, Handlers

MAX_LISTED = 1000
DEFAULT_LISTED = 50
MAX_EVENTS = 1000
MAX_LOGS = 1000
MAX_PAYLOADS = 3 * 1024 * 1024
"""So many bytes of payloads a workflow run is shown with, in messages that must stay below 4 MiB."""


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
        async with self._database.connection() as conn:
            whole = await self._one(conn, caller, request.external_id, "external_id")
        run = whole.row
        if whole.is_workflow:
            tasks = fitting(without_reasons(ends_of(whole.steps)), MAX_PAYLOADS - len(run.input or b""))
        else:
            tasks = ends_of([Step(whole.kind.definition.readable_id, run)])
        return pb.GetRunDetailsResponse(
            input=run.input or b"{}",
            status=HATCHET_STATUS[run.status],
            task_runs={end.name: _task_detail(end) for end in tasks},
            done=run.status in TERMINAL,
            additional_metadata=(run.metadata or "{}").encode(),
        )

    async def get(self, request: runs_pb2.GetRunRequest, caller: Caller) -> runs_pb2.RunDetail:
        """One run with payloads, history and logs; a workflow run with those of its tasks."""
        async with self._database.connection() as conn:
            whole = await self._one(conn, caller, request.id, "id")
            run = whole.row
            names = self._names(whole)
            ids = [run.id, *names]
            until = (run.finished_at or moment(self._clock.now())) + timedelta(seconds=1)
            events = await rows.run_events(
                conn, tenant_id=caller.tenant_id, ids=ids, since=run.created_at, until=until, limit=MAX_EVENTS
            )
            logs = await rows.run_logs(conn, tenant_id=caller.tenant_id, ids=ids, limit=MAX_LOGS)
        output = run.output or b""
        ends = ends_of(whole.steps)
        if whole.is_workflow and run.status in TERMINAL:
            output = named_outputs(ends)
            output = output if len(output) <= MAX_PAYLOADS // 4 else b""
        detail = runs_pb2.RunDetail(
            run=self._summary(run),
            input=run.input or b"{}",
            output=output,
            error=run.error or "",
            events=[
                runs_pb2.RunEvent(
                    at=treadle_time(us_of(event.at)),
                    kind=event.kind.name,
                    attempt=event.attempt,
                    detail=event.detail or "",
                    task=names.get(event.task_id, ""),
                )
                for event in events
            ],
            logs=[
                worker_pb2.LogLine(
                    task_id=line.task_id,
                    attempt=line.attempt,
                    at_us=us_of(line.at),
                    level=line.level,
                    message=line.message,
                    metadata=line.metadata or "",
                )
                for line in logs
            ],
        )
        add_tasks(fitting(ends, MAX_PAYLOADS - len(run.input or b"") - len(output)), detail)
        return detail

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
        wanted = RunFilter(
            statuses=statuses_of(request.statuses, "statuses"),
            since=datetime_of(time_us(request.since, "since")) if request.HasField("since") else None,
            until=datetime_of(time_us(request.until, "until")) if request.HasField("until") else None,
            names=list(request.tasks),
            parent_id=parent,
            before=before,
        )
        async with self._database.connection() as conn:
            ids = await find_runs(conn, tenant_id=caller.tenant_id, wanted=wanted, limit=limit)
            found = await rows.run_rows(conn, tenant_id=caller.tenant_id, ids=ids)
            await self._catalog.load_versions(conn, (run.version for run in found))
        return runs_pb2.ListRunsResponse(
            runs=[self._summary(run) for run in found], next_before=ids[-1] if len(ids) == limit else ""
        )

    async def _one(self, conn: Conn, caller: Caller, text: str, field: str) -> WholeRun:
        id_ = checked_id(text, field)
        whole = await whole_run(conn, self._catalog, tenant_id=caller.tenant_id, id=id_)
        if whole is None:
            raise NotFound(field, f"no run {id_}")
        return whole

    def _names(self, whole: WholeRun) -> dict[str, str]:
        """The tasks of a workflow run by id, also those that wait and have not come to be."""
        if whole.kind.plan is None or not whole.is_workflow:
            return {}
        ids = step_ids(self._catalog, whole.row.id, whole.row.version)
        return dict(zip(ids, whole.kind.plan.names, strict=True))

    def _summary(self, run: RunRow) -> runs_pb2.RunSummary:
        kind = self._catalog.kind(run.version, run.step)
        summary = runs_pb2.RunSummary(
            id=run.id,
            task=kind.workflow_name,
            status=TREADLE_STATUS[run.status],
            attempt=run.attempt,
            retries_used=run.retries_used,
            priority=run.priority,
            created_at=treadle_time(us_of(run.created_at)),
            worker_id=run.worker_id or "",
            parent_id=run.parent_id or "",
            metadata=run.metadata or "",
            error=(run.error or "").partition("\n")[0],
            run_id=run.run_id or "",
            step=kind.definition.readable_id if run.run_id else "",
        )
        if run.started_at is not None:
            summary.started_at.CopyFrom(treadle_time(us_of(run.started_at)))
        if run.finished_at is not None:
            summary.finished_at.CopyFrom(treadle_time(us_of(run.finished_at)))
        return summary


def _task_detail(end: StepEnd) -> pb.TaskRunDetail:
    detail = pb.TaskRunDetail(external_id=end.task_id, status=HATCHET_STATUS[end.status], readable_id=end.name)
    if end.error is not None:
        detail.error = end.error
    if end.output is not None:
        detail.output = end.output
    return detail
