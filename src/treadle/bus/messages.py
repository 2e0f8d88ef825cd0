"""Commands, answers and deliveries as messages between engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.attempt import Attempt
from treadle.engine.commands import (
    Cancel,
    Command,
    Completed,
    Failed,
    LogLine,
    NewEvent,
    Push,
    Redeliver,
    RefreshTimeout,
    ReleaseSlot,
    Replay,
    Report,
    Started,
    WorkerChanged,
    WorkerJoined,
    WorkerLost,
)
from treadle.wire.gen.treadle.internal.v1 import engines_pb2 as pb

if TYPE_CHECKING:
    from treadle.engine.catalog import Catalog, TaskKind


def request_from(command: Command, number: int, tenant_id: int) -> pb.Request:
    """A command as it is passed on; `number` 0 when nobody waits for an answer."""
    request = pb.Request(number=number, tenant_id=tenant_id)
    match command:
        case Report():
            request.report.CopyFrom(_report(command))
        case Cancel():
            request.cancel.ids.extend(command.task_ids)
            request.cancel.children = command.children
        case Replay():
            request.replay.ids.extend(command.task_ids)
        case Push():
            request.push.CopyFrom(_push(command))
        case RefreshTimeout():
            request.refresh.CopyFrom(pb.Refresh(task_id=command.task_id, seconds=command.seconds))
        case ReleaseSlot():
            request.release = command.task_id
        case _:
            _tell_of_worker(command, request)
    return request


def _tell_of_worker(command: Command, request: pb.Request) -> None:
    """What happened to a worker, as it is passed on."""
    match command:
        case WorkerJoined():
            request.joined.CopyFrom(
                pb.Joined(
                    worker_id=command.worker_id,
                    queue_ids=command.queue_ids,
                    capacity=dict(command.capacity),
                    in_hand=[pb.Attempt(task_id=task, attempt=attempt) for task, attempt in command.in_hand or ()],
                    tells_in_hand=command.in_hand is not None,
                    paused=command.paused,
                )
            )
        case WorkerChanged():
            request.changed.CopyFrom(
                pb.Changed(
                    worker_id=command.worker_id,
                    available=command.available,
                    gone=command.gone,
                    pulse=command.pulse,
                )
            )
        case WorkerLost():
            request.lost = command.worker_id
        case Redeliver():
            request.redeliver.CopyFrom(
                pb.Redeliver(worker_id=command.worker_id, unstarted_since=command.unstarted_since)
            )
        case _:
            raise AssertionError(command)


def _report(report: Report) -> pb.Report:
    return pb.Report(
        worker_id=report.worker_id,
        started=[pb.Started(task_id=e.task_id, attempt=e.attempt, started_at=e.started_at) for e in report.started],
        completed=[
            pb.Completed(task_id=e.task_id, attempt=e.attempt, output=e.output, started_at=e.started_at)
            for e in report.completed
        ],
        failed=[
            pb.Failed(
                task_id=e.task_id,
                attempt=e.attempt,
                error=e.error,
                should_not_retry=e.should_not_retry,
                retry_after=e.retry_after,
                started_at=e.started_at,
            )
            for e in report.failed
        ],
        handed_back=[pb.Attempt(task_id=task_id, attempt=attempt) for task_id, attempt in report.handed_back],
        lost=[pb.Attempt(task_id=task_id, attempt=attempt) for task_id, attempt in report.lost],
        stopped=[pb.Attempt(task_id=task_id, attempt=attempt) for task_id, attempt in report.stopped],
        running=[pb.Attempt(task_id=task_id, attempt=attempt) for task_id, attempt in report.running],
        logs=[
            pb.LogLine(
                task_id=e.task_id, attempt=e.attempt, at=e.at, level=e.level, message=e.message, metadata=e.metadata
            )
            for e in report.logs
        ],
        keep_starts=report.keep_starts,
        late_logs=report.late_logs,
    )


def _push(push: Push) -> pb.Push:
    return pb.Push(
        events=[
            pb.Event(key=e.key, payload=e.payload, metadata=e.metadata, scope=e.scope, priority=e.priority)
            for e in push.events
        ]
    )


def events_from(message: pb.Push) -> list[NewEvent]:
    """The events of a passed-on push."""
    return [
        NewEvent(
            e.key,
            e.payload,
            e.metadata if e.HasField("metadata") else None,
            e.scope if e.HasField("scope") else None,
            e.priority if e.HasField("priority") else None,
        )
        for e in message.events
    ]


def fill_report(message: pb.Report, report: Report) -> None:
    """Read what a passed-on report says into a command."""
    report.started = [Started(e.task_id, e.attempt, e.started_at) for e in message.started]
    report.completed = [
        Completed(
            e.task_id,
            e.attempt,
            e.output if e.HasField("output") else None,
            e.started_at if e.HasField("started_at") else None,
        )
        for e in message.completed
    ]
    report.failed = [
        Failed(
            e.task_id,
            e.attempt,
            e.error,
            e.should_not_retry,
            e.retry_after if e.HasField("retry_after") else None,
            e.started_at if e.HasField("started_at") else None,
        )
        for e in message.failed
    ]
    report.handed_back = [(e.task_id, e.attempt) for e in message.handed_back]
    report.lost = [(e.task_id, e.attempt) for e in message.lost]
    report.stopped = [(e.task_id, e.attempt) for e in message.stopped]
    report.running = [(e.task_id, e.attempt) for e in message.running]
    report.logs = [
        LogLine(e.task_id, e.attempt, e.at, e.level, e.message, e.metadata if e.HasField("metadata") else None)
        for e in message.logs
    ]
    report.keep_starts = message.keep_starts
    report.late_logs = message.late_logs


def delivery_from(attempt: Attempt) -> pb.Delivery:
    """An attempt on its way to the engine that its worker is connected to."""
    return pb.Delivery(
        task_id=attempt.task_id,
        attempt=attempt.attempt,
        version=attempt.kind.version,
        step=attempt.kind.step,
        input=attempt.input or b"{}",
        metadata=attempt.metadata,
        priority=attempt.priority,
        retries_used=attempt.retries_used,
        parent_id=attempt.parent_id,
        child_index=attempt.child_index,
        child_key=attempt.child_key,
        created_at=attempt.created_at,
        run_id=attempt.run_id,
        triggers=attempt.triggers,
        parents=attempt.parents,
        errors=attempt.errors,
    )


def attempt_from(message: pb.Delivery, kind: TaskKind) -> Attempt:
    """The attempt that a delivery speaks of."""
    attempt = Attempt(
        kind=kind,
        task_id=message.task_id,
        attempt=message.attempt,
        priority=message.priority,
        input=message.input,
        metadata=message.metadata if message.HasField("metadata") else None,
        parent_id=message.parent_id if message.HasField("parent_id") else None,
        child_index=message.child_index if message.HasField("child_index") else None,
        child_key=message.child_key if message.HasField("child_key") else None,
        created_at=message.created_at,
        retries_used=message.retries_used,
        run_id=message.run_id if message.HasField("run_id") else None,
        triggers=message.triggers if message.HasField("triggers") else None,
    )
    if attempt.run_id is not None:
        attempt.parents = dict(message.parents)
        attempt.errors = dict(message.errors)
    return attempt


async def kinds_in(response: pb.Response, catalog: Catalog) -> None:
    """Make sure that the kinds named in a response are in memory."""
    versions = {entry.version for group in response.deliveries for entry in group.deliveries}
    versions |= {entry.version for entry in response.ended}
    if versions:
        await catalog.ensure_versions(versions)
