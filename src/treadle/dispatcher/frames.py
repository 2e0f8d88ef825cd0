"""Session frames: engine objects out, worker reports in."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

import orjson

from treadle.dispatcher.oversize import too_large
from treadle.engine.commands import AttemptKey, Completed, Failed, LogLine, Report, Stale, Started
from treadle.model.errors import InvalidInput
from treadle.model.ids import is_id
from treadle.model.payload import check_json, check_metadata
from treadle.wire.gen.treadle.v1 import worker_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from treadle.engine.attempt import Attempt
    from treadle.engine.ports import StopReason
    from treadle.wire.serving import Stream

LEVELS = frozenset({"DEBUG", "INFO", "WARN", "ERROR"})
MAX_LOG_CHARS = 10_000
# Room for what a frame carries beside deliveries.
_FRAME_SLACK = 64 * 1024


class _Word(Protocol):
    """Part of a frame that names an attempt."""

    task_id: str
    attempt: int


class SessionLink:
    """The way to one worker on a session. Everything to be sent since the last frame goes into the next.

    Args:
        worker_id: the worker.
        tenant_id: its tenant.
        queue_ids: the queues that it serves.
        capacity: its units by slot type.
        max_bytes: largest frame.
        refuse: takes the report of an attempt that no frame can hold.
    """

    def __init__(
        self,
        worker_id: str,
        tenant_id: int,
        *,
        queue_ids: Sequence[int],
        capacity: Mapping[str, int],
        max_bytes: int,
        refuse: Callable[[Report], None] = lambda _report: None,
    ) -> None:
        self.worker_id = worker_id
        self.tenant_id = tenant_id
        self.queue_ids = queue_ids
        self.capacity = capacity
        self.draining = False
        self._max_bytes = max_bytes
        self._refuse = refuse
        self._frame = worker_pb2.EngineFrame()
        self._bytes = 0
        # Deliveries beyond the frame's size; bounded by the worker's slots.
        self._later: list[worker_pb2.Delivery] = []
        self._filled = asyncio.Event()
        self._writing = False
        self._closed = False
        # Deliveries that the worker has not said a word about, oldest first, with when they were put into a frame. The
        # messages themselves, because nobody else keeps inputs. Bounded by the worker's slots.
        self._unheard: dict[str, tuple[float, int, worker_pb2.Delivery]] = {}

    def deliver(self, attempts: Sequence[Attempt]) -> None:
        """Put attempts into the next frame."""
        now = time.monotonic()
        unheard = self._unheard
        for attempt in attempts:
            message = delivery(attempt)
            size = _size_of(message)
            if attempt.run_id is not None:
                refusal = too_large(attempt, size, self._max_bytes, self.worker_id)
                if refusal is not None:
                    self._refuse(refusal)
                    continue
            unheard[attempt.task_id] = (now, attempt.attempt, message)
            self._add(message, size)
        self._filled.set()

    def heard(self, entries: Iterable[_Word]) -> None:
        """The worker has named these attempts: their deliveries have arrived."""
        unheard = self._unheard
        for entry in entries:
            found = unheard.pop(entry.task_id, None)
            if found is not None and found[1] > entry.attempt:
                # It spoke of an earlier attempt. Rare, so that it need not stay the oldest.
                unheard[entry.task_id] = found

    def resend(self, *, now: float, after: float) -> int:
        """Put deliveries into the next frame again that the worker has not named for that long; returns how many.

        It takes an attempt once, however often it arrives.
        """
        if self._writing:
            return 0  # the worker does not read: what it has not seen may still be on its way
        due = []
        for task_id, (sent_at, _, _) in self._unheard.items():
            if now - sent_at < after:
                break
            due.append(task_id)
        for task_id in due:
            _, number, message = self._unheard.pop(task_id)
            self._unheard[task_id] = (now, number, message)
            self._add(message, _size_of(message))
        if due:
            self._filled.set()
        return len(due)

    def _add(self, message: worker_pb2.Delivery, size: int) -> None:
        if self._later or (self._bytes and self._bytes + size > self._max_bytes - _FRAME_SLACK):
            self._later.append(message)
            return
        self._bytes += size
        self._frame.deliveries.append(message)

    def stop(self, task_id: str, attempt: int, reason: StopReason) -> None:
        """Tell the worker to stop an attempt."""
        cancel = worker_pb2.Cancel(task_id=task_id, attempt=attempt, reason=int(reason))  # type: ignore[arg-type]  # the numbers agree
        self.heard((cancel,))  # not to be sent again: the worker need not even have begun
        self._frame.cancels.append(cancel)
        self._filled.set()

    def answer(self, settled: Sequence[AttemptKey], stale: Sequence[Stale], error: BaseException | None) -> None:
        """Name the reports that need not be kept any longer."""
        if error is not None:
            # The worker keeps its reports and sends them again on a new stream.
            self.close()
            return
        add = self._frame.settled.add
        for task_id, attempt in settled:
            # Field by field, as that costs a third of what keyword arguments do.
            named = add()
            named.task_id = task_id
            named.attempt = attempt
        for entry in stale:
            self.stop(entry.task_id, entry.attempt, entry.reason)
        if settled:
            self._filled.set()

    def welcome(self, message: worker_pb2.Welcome) -> None:
        """Greet the worker in the first frame."""
        self._frame.welcome.CopyFrom(message)
        self._filled.set()

    def canary(self, number: int) -> None:
        """Ask for a sign of life."""
        self._frame.canary = number
        self._filled.set()

    def goodbye(self) -> None:
        """Ask the worker to connect again."""
        self._frame.goodbye = True
        self._filled.set()

    def close(self) -> None:
        """End the stream after what is to be sent now."""
        self._closed = True
        self._filled.set()

    async def write_to(self, stream: Stream) -> None:
        """Send frames until the link is closed."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            closed = self._closed
            frame = self._frame
            self._frame = worker_pb2.EngineFrame()
            self._bytes = 0
            later, self._later = self._later, []
            for message in later:
                self._add(message, _size_of(message))
            if self._bytes:
                self._filled.set()
            self._writing = True
            await stream.write(frame)
            self._writing = False
            if closed and not self._bytes:
                return


def delivery(attempt: Attempt) -> worker_pb2.Delivery:
    """An attempt as a worker on a session gets it."""
    definition = attempt.kind.definition
    # Field by field, and none that is empty: keyword arguments cost three times as much.
    message = worker_pb2.Delivery()
    message.task_id = attempt.task_id
    message.attempt = attempt.attempt
    message.action = definition.action
    message.input = attempt.input or b"{}"
    message.priority = attempt.priority
    message.timeout_ms = definition.timeout_ms
    if attempt.metadata:
        message.metadata = attempt.metadata
    if attempt.retries_used:
        message.retries_used = attempt.retries_used
    if attempt.parent_id:
        message.parent_id = attempt.parent_id
    if definition.retries:
        message.max_retries = definition.retries
    if attempt.run_id is not None:
        _add_run(attempt, message)
    return message


def _size_of(message: worker_pb2.Delivery) -> int:
    """About how many bytes a delivery takes; counted in full only where outputs of parents may come along."""
    return message.ByteSize() if message.run_id else len(message.input) + len(message.metadata) + 256


def _add_run(attempt: Attempt, message: worker_pb2.Delivery) -> None:
    """What a task of a workflow run is told besides."""
    message.run_id = attempt.workflow_run_id
    if attempt.triggers:
        message.triggers = attempt.triggers
    for name, output in (attempt.parents or {}).items():
        message.parents[name] = output
    for name, error in (attempt.errors or {}).items():
        message.errors[name] = error


_NAMING = ("received", "started", "completed", "failed", "handed_back", "lost", "stopped")


def hear(frame: worker_pb2.WorkerFrame, link: SessionLink) -> None:
    """Take every attempt that a frame names for delivered."""
    for name in _NAMING:
        link.heard(getattr(frame, name))
    if frame.HasField("heartbeat"):
        link.heard(frame.heartbeat.running)


def report_from_frame(frame: worker_pb2.WorkerFrame, link: SessionLink) -> Report | None:
    """What a frame reports, or None when it reports nothing.

    An output that is no JSON fails its attempt, and leaves the rest of the frame alone.
    """
    failed = [
        Failed(
            entry.task_id,
            number(entry.attempt),
            clean_text(entry.error),
            entry.should_not_retry,
            entry.retry_after_ms / 1000 if entry.HasField("retry_after_ms") else None,
            entry.started_at_us / 1e6 if entry.started_at_us else None,
        )
        for entry in frame.failed
    ]
    completed = []
    for done in frame.completed:
        started_at = done.started_at_us / 1e6 if done.started_at_us else None
        output = done.output
        try:
            check_json(output, "output", object_only=False, max_bytes=len(output), loads=orjson.loads)
        except InvalidInput as problem:
            failed.append(
                Failed(done.task_id, number(done.attempt), f"InvalidOutput: {problem}", False, None, started_at)
            )
            continue
        completed.append(Completed(done.task_id, number(done.attempt), output, started_at))
    report = Report(
        link.tenant_id,
        link.worker_id,
        link.answer,
        started=[Started(entry.task_id, number(entry.attempt), entry.started_at_us / 1e6) for entry in frame.started],
        completed=completed,
        failed=failed,
        handed_back=[(entry.task_id, number(entry.attempt)) for entry in frame.handed_back],
        lost=[(entry.task_id, number(entry.attempt)) for entry in frame.lost],
        stopped=[(entry.task_id, entry.attempt) for entry in frame.stopped],
        logs=[line for entry in frame.logs if (line := _log_line(entry)) is not None],
    )
    return report if report.count or report.stopped else None


def _log_line(entry: worker_pb2.LogLine) -> LogLine | None:
    if not is_id(entry.task_id):
        return None
    level = entry.level.upper()
    try:
        metadata = check_metadata(entry.metadata, "metadata") or None
    except InvalidInput:
        metadata = None
    return LogLine(
        entry.task_id,
        number(entry.attempt),
        entry.at_us / 1e6,
        level if level in LEVELS else "INFO",
        clean_text(entry.message)[:MAX_LOG_CHARS],
        metadata,
    )


def clean_text(text: str) -> str:
    """Text that a database can keep: without NUL characters."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def number(attempt: int) -> int:
    """An attempt number from a frame: 0, the default, must not stand for whichever attempt is current."""
    return attempt or -1
