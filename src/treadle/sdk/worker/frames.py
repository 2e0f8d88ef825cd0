"""News of a worker as plain values, and as the frame that carries them.

Reports are encoded where they come up and only joined when a frame leaves: it is cheaper than to copy messages into a
frame, and lets the news of a child process pass through its parent without being read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.wire.gen.treadle.v1 import worker_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message

Key = tuple[str, int]
Report = worker_pb2.Completion | worker_pb2.Failure
EncodedReport = tuple[str, int, bytes]
"""Task, attempt, and the report as part of a frame."""

_COMPLETED = worker_pb2.WorkerFrame.COMPLETED_FIELD_NUMBER
_FAILED = worker_pb2.WorkerFrame.FAILED_FIELD_NUMBER
_LOGS = worker_pb2.WorkerFrame.LOGS_FIELD_NUMBER
_DELIVERIES = worker_pb2.EngineFrame.DELIVERIES_FIELD_NUMBER
_DELIMITED = 2
_SHORT = [bytes((length,)) for length in range(128)]


class News(NamedTuple):
    """What there is to tell, of nothing but lists, numbers and bytes."""

    logs: list[bytes]
    received: list[Key]
    started: list[tuple[str, int, int]]
    reports: list[EncodedReport]
    handed_back: list[Key]
    lost: list[Key]
    stopped: list[Key]
    running: list[Key]
    canary: int
    draining: bool


def _part(number: int, message: Message) -> bytes:
    """A message as one entry of a repeated field."""
    body = message.SerializeToString()
    size = len(body)
    tag = number << 3 | _DELIMITED
    if size < len(_SHORT):
        return _SHORT[tag] + _SHORT[size] + body
    head = bytearray((tag,))
    while size >= len(_SHORT):
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + body


def report_part(report: Report) -> bytes:
    """A report as part of a frame."""
    return _part(_COMPLETED if type(report) is worker_pb2.Completion else _FAILED, report)


def log_part(line: worker_pb2.LogLine) -> bytes:
    """A log line as part of a frame."""
    return _part(_LOGS, line)


def log_of(part: bytes) -> worker_pb2.LogLine:
    """The log line that a part holds."""
    return worker_pb2.WorkerFrame.FromString(part).logs[0]


def delivery_part(delivery: worker_pb2.Delivery) -> bytes:
    """A delivery as part of an engine's frame."""
    return _part(_DELIVERIES, delivery)


def frame_of(news: News) -> bytes:
    """The frame that carries the news to the engine."""
    parts = [*news.logs, *[report[2] for report in news.reports]]
    frame = worker_pb2.WorkerFrame(draining=news.draining)
    for entries, keys in (
        (frame.received, news.received),
        (frame.handed_back, news.handed_back),
        (frame.lost, news.lost),
        (frame.stopped, news.stopped),
    ):
        for task_id, attempt in keys:
            entries.add(task_id=task_id, attempt=attempt)
    for task_id, attempt, at in news.started:
        frame.started.add(task_id=task_id, attempt=attempt, started_at_us=at)
    if news.canary:
        frame.heartbeat.canary = news.canary
        for task_id, attempt in news.running:
            frame.heartbeat.running.add(task_id=task_id, attempt=attempt)
    parts.append(frame.SerializeToString())
    return b"".join(parts)
