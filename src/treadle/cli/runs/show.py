"""Runs as plain values: the columns of a table, the keys of JSON."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from treadle.wire.gen.treadle.v1 import runs_pb2

COLUMNS = ("id", "task", "status", "created", "duration", "error")


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
        "metadata": json.loads(run.metadata) if run.metadata else None,
        "error": run.error or None,
    }


def detail_row(detail: "runs_pb2.RunDetail") -> dict[str, Any]:
    """All there is to know about one run."""
    return summary_row(detail.run) | {
        "error": detail.error or None,
        "input": json.loads(detail.input) if detail.input else None,
        "output": json.loads(detail.output) if detail.output else None,
        "events": [
            {"at": _time(event.at), "kind": event.kind, "attempt": event.attempt, "detail": event.detail}
            for event in detail.events
        ],
        "logs": [
            {"at": _time_us(line.at_us), "attempt": line.attempt, "level": line.level, "message": line.message}
            for line in detail.logs
        ],
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
