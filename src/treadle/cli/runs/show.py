"""Runs as plain values: the columns of a table, the keys of JSON."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from treadle.wire.gen.treadle.v1 import runs_pb2

COLUMNS = ("id", "task", "status", "created", "duration", "error")
TASK_COLUMNS = ("name", "status", "attempt", "id", "error")


def summary_row(run: "runs_pb2.RunSummary") -> dict[str, Any]:
    """One run. Times are RFC 3339 in UTC; `duration` is a text for people, `duration_ms` the exact figure."""
    from treadle.model.states import RunStatus

    started = run.started_at if run.HasField("started_at") else None
    finished = run.finished_at if run.HasField("finished_at") else None
    took = (
        None if started is None or finished is None else (finished.ToNanoseconds() - started.ToNanoseconds()) // 10**6
    )
    return {
        "id": run.id,
        "task": run.task,
        "status": RunStatus(run.status).name,
        "created": _time(run.created_at),
        "started": None if started is None else _time(started),
        "finished": None if finished is None else _time(finished),
        "duration": None if took is None else short_duration(took),
        "duration_ms": took,
        "attempt": run.attempt,
        "retries_used": run.retries_used,
        "priority": run.priority,
        "worker_id": run.worker_id or None,
        "parent_id": run.parent_id or None,
        "run_id": run.run_id or None,
        "step": run.step or None,
        "metadata": json.loads(run.metadata) if run.metadata else None,
        "error": run.error or None,
    }


def detail_row(detail: "runs_pb2.RunDetail") -> dict[str, Any]:
    """All there is to know about one run."""
    names = {task.task_id: task.name for task in detail.tasks}
    return summary_row(detail.run) | {
        "error": detail.error or None,
        "input": json.loads(detail.input) if detail.input else None,
        "output": json.loads(detail.output) if detail.output else None,
        "tasks": [_task_row(task) for task in detail.tasks],
        "events": [
            {
                "at": _time(event.at),
                "kind": event.kind,
                "task": event.task or None,
                "attempt": event.attempt,
                "detail": event.detail,
            }
            for event in detail.events
        ],
        "logs": [
            {
                "at": _time_us(line.at_us),
                "task": names.get(line.task_id),
                "attempt": line.attempt,
                "level": line.level,
                "message": line.message,
            }
            for line in detail.logs
        ],
    }


def _task_row(task: "runs_pb2.TaskResult") -> dict[str, Any]:
    """One task of a workflow run."""
    from treadle.model.states import RunStatus

    return {
        "name": task.name,
        "id": task.task_id,
        "status": RunStatus(task.status).name,
        "attempt": task.attempt,
        "output": json.loads(task.output) if task.output else None,
        "error": task.error or None,
    }


def short_duration(ms: int) -> str:
    """Two figures that matter: `7ms`, `1.25s`, `3m20s`."""
    from treadle.model.durations import format_duration

    if ms < 1000:
        return f"{max(ms, 0)}ms"
    if ms < 60_000:
        return f"{ms / 1000:.3g}s"
    return format_duration(ms // 1000 * 1000)


def _time(stamp: "Timestamp") -> str:
    return _time_us(stamp.ToMicroseconds())


def _time_us(us: int) -> str:
    from treadle.wire.convert import datetime_of

    return datetime_of(us).isoformat(timespec="milliseconds").replace("+00:00", "Z")
