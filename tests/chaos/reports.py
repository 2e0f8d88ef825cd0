"""Frames with one report each, as late or lying workers send them."""

from collections.abc import Callable

from treadle.wire.gen.treadle.v1 import worker_pb2

FrameMaker = Callable[[str, int], worker_pb2.WorkerFrame]


def _naming(task_id: str, attempt: int) -> worker_pb2.Attempt:
    return worker_pb2.Attempt(task_id=task_id, attempt=attempt)


def completed(task_id: str, attempt: int) -> worker_pb2.WorkerFrame:
    lie = worker_pb2.Completion(task_id=task_id, attempt=attempt, output=b'{"by": "a liar"}')
    return worker_pb2.WorkerFrame(completed=[lie])


def failed(task_id: str, attempt: int) -> worker_pb2.WorkerFrame:
    lie = worker_pb2.Failure(task_id=task_id, attempt=attempt, error="ValueError: a lie", should_not_retry=True)
    return worker_pb2.WorkerFrame(failed=[lie])


def retried(task_id: str, attempt: int) -> worker_pb2.WorkerFrame:
    lie = worker_pb2.Failure(task_id=task_id, attempt=attempt, error="ValueError: a lie", retry_after_ms=1)
    return worker_pb2.WorkerFrame(failed=[lie])


def started(task_id: str, attempt: int) -> worker_pb2.WorkerFrame:
    return worker_pb2.WorkerFrame(started=[worker_pb2.Started(task_id=task_id, attempt=attempt, started_at_us=1)])


def received(task_id: str, attempt: int) -> worker_pb2.WorkerFrame:
    return worker_pb2.WorkerFrame(received=[_naming(task_id, attempt)])


def handed_back(task_id: str, attempt: int) -> worker_pb2.WorkerFrame:
    return worker_pb2.WorkerFrame(handed_back=[_naming(task_id, attempt)])


def stopped(task_id: str, attempt: int) -> worker_pb2.WorkerFrame:
    return worker_pb2.WorkerFrame(stopped=[_naming(task_id, attempt)])


def heartbeat(task_id: str, attempt: int) -> worker_pb2.WorkerFrame:
    return worker_pb2.WorkerFrame(heartbeat=worker_pb2.Heartbeat(running=[_naming(task_id, attempt)]))


def logged(task_id: str, attempt: int) -> worker_pb2.WorkerFrame:
    line = worker_pb2.LogLine(task_id=task_id, attempt=attempt, at_us=1, level="INFO", message="a lie")
    return worker_pb2.WorkerFrame(logs=[line])


REPORTS: list[FrameMaker] = [
    completed,
    failed,
    retried,
    started,
    received,
    handed_back,
    stopped,
    heartbeat,
    logged,
]
