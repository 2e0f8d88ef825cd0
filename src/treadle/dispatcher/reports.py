"""What Hatchet workers report, one call per event, and what their tasks ask for while they run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson

from treadle.dispatcher.frames import LEVELS, MAX_LOG_CHARS, clean_text
from treadle.engine.commands import (
    Completed,
    Failed,
    LogLine,
    RefreshTimeout,
    ReleaseSlot,
    Report,
    Started,
    reject,
    resolve,
)
from treadle.model.durations import parse_duration_ms
from treadle.model.errors import InvalidInput, NotFound, TreadleError
from treadle.model.ids import canonical_id
from treadle.model.payload import check_json, check_metadata
from treadle.storage.trigger import existing_tasks
from treadle.wire.convert import hatchet_time, time_us
from treadle.wire.gen.hatchet import dispatcher_pb2 as pb
from treadle.wire.gen.hatchet import events_pb2
from treadle.wire.ids import checked_id

if TYPE_CHECKING:
    from treadle.engine.commands import AttemptKey, Stale
    from treadle.engine.inbox import Door
    from treadle.engine.running import RunningView
    from treadle.storage.database import Database
    from treadle.wire.serving import Caller, Handlers


class Reports:
    """Serves the reports of Hatchet workers.

    Args:
        inbox: the engine's loop.
        running: which attempts run.
        database: where tasks are that do not run.
    """

    def __init__(self, inbox: Door, running: RunningView, database: Database) -> None:
        self._inbox = inbox
        self._database = database
        self._running = running

    def handlers(self) -> Handlers:
        """What this module serves."""
        return {
            "/Dispatcher/SendStepActionEvent": self.send_step_action_event,
            "/Dispatcher/RefreshTimeout": self.refresh_timeout,
            "/Dispatcher/ReleaseSlot": self.release_slot,
            "/Dispatcher/PutOverridesData": self.put_overrides_data,
            "/EventsService/PutLog": self.put_log,
        }

    async def send_step_action_event(self, request: pb.StepActionEvent, caller: Caller) -> pb.ActionEventResponse:
        """Take a report; answered once it is durable. One about an attempt that is over changes nothing."""
        task_id = checked_id(request.task_run_external_id, "task_run_external_id")
        attempt = request.retry_count + 1 if request.HasField("retry_count") else 0
        at = time_us(request.event_timestamp, "event_timestamp") / 1e6 if request.HasField("event_timestamp") else 0.0
        report = self._report(request, caller, task_id, attempt, at)
        if report is not None:
            done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

            def answer(_settled: list[AttemptKey], stale: list[Stale], error: BaseException | None) -> None:
                if error is None:
                    resolve(done, bool(stale))
                else:
                    reject(done, error)

            report.answer = answer
            await self._inbox.put_when_room(report)
            if await done:
                await self._check_known(task_id, caller, InvalidInput)
        return pb.ActionEventResponse(tenant_id=caller.tenant, worker_id=request.worker_id)

    async def _check_known(self, task_id: str, caller: Caller, error: type[TreadleError]) -> None:
        """What comes about an attempt that is over is fine, and an error when its task never was."""
        async with self._database.connection() as conn:
            if not await existing_tasks(conn, tenant_ids=[caller.tenant_id], ids=[task_id]):
                raise error("task_run_external_id", f"no task {task_id}")

    @staticmethod
    def _report(request: pb.StepActionEvent, caller: Caller, task_id: str, attempt: int, at: float) -> Report | None:
        # TypeScript workers send their name here: only an id can be compared.
        worker_id = canonical_id(request.worker_id) or ""
        report = Report(caller.tenant_id, worker_id, lambda _settled, _stale, _error: None, keep_starts=True)
        match request.event_type:
            case pb.STEP_EVENT_TYPE_STARTED:
                report.started = [Started(task_id, attempt, at)]
            case pb.STEP_EVENT_TYPE_COMPLETED:
                try:
                    output = _output(request.event_payload)
                except InvalidInput as problem:
                    # Refusing the call would lose the attempt: its output is at fault, so the attempt fails.
                    report.failed = [Failed(task_id, attempt, f"InvalidOutput: {problem}", False, None, None)]
                else:
                    report.completed = [Completed(task_id, attempt, output, None)]
            case pb.STEP_EVENT_TYPE_FAILED:
                report.failed = [
                    Failed(
                        task_id,
                        attempt,
                        clean_text(request.event_payload),
                        request.should_not_retry,
                        request.retry_after_ms / 1000 if request.HasField("retry_after_ms") else None,
                        None,
                    )
                ]
            case pb.STEP_EVENT_TYPE_ACKNOWLEDGED | pb.STEP_EVENT_TYPE_CANCELLED:
                return None
            case _:
                raise InvalidInput("event_type", f"{request.event_type} is not a known event type")
        return report

    async def refresh_timeout(self, request: pb.RefreshTimeoutRequest, caller: Caller) -> pb.RefreshTimeoutResponse:
        """Move the deadline of a running task."""
        task_id = checked_id(request.task_run_external_id, "task_run_external_id")
        milliseconds = parse_duration_ms(request.increment_timeout_by, "increment_timeout_by")
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        await self._inbox.put_when_owned(RefreshTimeout(caller.tenant_id, task_id, milliseconds / 1000, future))
        return pb.RefreshTimeoutResponse(timeout_at=hatchet_time(int(await future * 1_000_000)))

    async def release_slot(self, request: pb.ReleaseSlotRequest, caller: Caller) -> pb.ReleaseSlotResponse:
        """Give back the slot of a running task."""
        task_id = checked_id(request.task_run_external_id, "task_run_external_id")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._inbox.put_when_owned(ReleaseSlot(caller.tenant_id, task_id, future))
        await future
        return pb.ReleaseSlotResponse()

    async def put_overrides_data(self, request: pb.OverridesData, caller: Caller) -> pb.OverridesDataResponse:
        """Accepted and ignored, as in the reference."""
        del request, caller
        return pb.OverridesDataResponse()

    async def put_log(self, request: events_pb2.PutLogRequest, caller: Caller) -> events_pb2.PutLogResponse:
        """Store a line that a running task wrote."""
        task_id = checked_id(request.task_run_external_id, "task_run_external_id")
        current = self._running.current(caller.tenant_id, task_id, 0)
        if current is None:
            await self._check_known(task_id, caller, NotFound)
        level = (request.level or "INFO").upper()
        if level not in LEVELS:
            raise InvalidInput("level", f"{request.level!r} is not one of {', '.join(sorted(LEVELS))}")
        at = time_us(request.created_at, "created_at") / 1e6
        line = LogLine(
            task_id,
            request.task_retry_count + 1
            if request.HasField("task_retry_count")
            else 1
            if current is None
            else current.attempt,
            at,
            level,
            clean_text(request.message)[:MAX_LOG_CHARS],
            check_metadata(request.metadata, "metadata") or None,
        )
        # Logs are not worth a round trip each: they are in the very next commit.
        await self._inbox.put_when_room(
            Report(caller.tenant_id, "", lambda _settled, _stale, _error: None, logs=[line], late_logs=True)
        )
        return events_pb2.PutLogResponse()


def _output(payload: str) -> bytes | None:
    if not payload:
        return None
    data = payload.encode()
    return check_json(data, "output", object_only=False, max_bytes=len(data), loads=orjson.loads)
