"""What the worker has in hand, and what it still has to tell the engine.

The code of tasks runs in other threads than the session that reports on it. This is where the two meet; every method
may be called from any thread. A report is kept until the engine says that it is settled, that is, committed or stale,
and is sent again after a break.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from treadle.wire.gen.treadle.v1 import worker_pb2

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable
    from typing import Any

    from treadle.sdk.context import CancelReason, Context
    from treadle.sdk.task import FunctionTask

Key = tuple[str, int]
Report = worker_pb2.Completion | worker_pb2.Failure

_MOST_LOG_LINES = 10_000
_PER_ITEM = 96
"""Bytes of a frame that an entry takes beside its text or output, rounded up."""


class Execution:
    """One attempt in this worker's hand."""

    __slots__ = ("context", "deadline", "input", "key", "overdue", "started_us", "task", "waiting")

    def __init__(
        self, key: Key, task: FunctionTask[..., Any, ..., Any], context: Context, data: bytes, deadline: float | None
    ) -> None:
        self.key: Key = key
        self.task: FunctionTask[..., Any, ..., Any] = task
        self.context: Context = context
        self.input: bytes = data
        self.deadline: float | None = deadline
        """When the worker itself gives up on the attempt, by the monotonic clock."""
        self.overdue: bool = False
        self.started_us: int = 0
        self.waiting: asyncio.Task[None] | None = None
        """The asyncio task, for async functions."""


class Ledger:
    """Attempts, reports, log lines: everything that goes into the next frame."""

    def __init__(self, wake: Callable[[], None], wake_later: Callable[[], None], max_bytes: int) -> None:
        """Make an empty one.

        Args:
            wake: Called, from any thread, when there is something to send; once until the next frame is taken.
            wake_later: As `wake`, when there is something that can wait some milliseconds; `is_due` is to be called
                after them. Most tasks end sooner, and then their report says it all.
            max_bytes: Largest frame to make.
        """
        self._lock = threading.Lock()
        self._wake = wake
        self._woken = False
        self._wake_later = wake_later
        self._woken_later = False
        self._due = False
        self.max_bytes = max_bytes
        self._running: dict[Key, Execution] = {}
        self._unsettled: dict[Key, Report] = {}
        self._received: dict[Key, None] = {}
        self._started: dict[Key, int] = {}
        self._reports: deque[Report] = deque()
        self._handed_back: dict[Key, None] = {}
        self._stopped: list[Key] = []
        self._logs: deque[worker_pb2.LogLine] = deque()
        self._lost_logs = 0
        self._canary: int | None = None
        self._draining = False
        self._drain_told = False

    def _stir(self) -> None:
        # Under the lock. The flag saves a wake-up of the session for each of a thousand reports.
        if not self._woken:
            self._woken = True
            self._wake()

    def _stir_later(self) -> None:
        if not self._woken_later:
            self._woken_later = True
            self._wake_later()

    def is_due(self) -> None:
        """What could wait has waited long enough."""
        with self._lock:
            self._due = True
            self._stir()

    # -- from the engine -------------------------------------------------------------------------------------------

    def take(self, execution: Execution) -> bool:
        """Note a delivered attempt; False when it is in hand already, or must not start any more."""
        key = execution.key
        with self._lock:
            self._received[key] = None
            self._stir_later()
            if key in self._running or key in self._unsettled:
                return False
            if self._draining:
                self._handed_back[key] = None
                self._stir()
                return False
            self._handed_back.pop(key, None)
            self._running[key] = execution
            return True

    def refuse(self, report: worker_pb2.Failure) -> None:
        """Report an attempt that cannot be started here."""
        key = (report.task_id, report.attempt)
        with self._lock:
            if key not in self._unsettled:
                self._unsettled[key] = report
                self._reports.append(report)
            self._stir()

    def settle(self, attempts: Iterable[worker_pb2.Attempt]) -> None:
        """Forget reports that the engine has dealt with."""
        with self._lock:
            forget = self._unsettled.pop
            for attempt in attempts:
                forget((attempt.task_id, attempt.attempt), None)

    def to_cancel(self, key: Key, reason: CancelReason) -> Execution | None:
        """The attempt to cancel, if its code runs here; if it is not here at all, say that it has stopped."""
        with self._lock:
            execution = self._running.get(key)
            if execution is not None:
                execution.context._cancel(reason)  # noqa: SLF001 - classes of one family
            elif key not in self._unsettled:
                self._stopped.append(key)
                self._stir()
            return execution

    def saw_canary(self, number: int) -> None:
        with self._lock:
            self._canary = number
            self._stir()

    # -- from the code of tasks ------------------------------------------------------------------------------------

    def started(self, execution: Execution) -> None:
        with self._lock:
            if execution.key in self._running:
                self._started[execution.key] = execution.started_us
                self._stir_later()

    def report(self, execution: Execution, report: Report) -> None:
        """The code has ended and this came of it."""
        key = execution.key
        with self._lock:
            if self._running.pop(key, None) is None:
                return  # handed back meanwhile
            # The report tells that it came and when the code started: what has not left yet need not.
            self._received.pop(key, None)
            self._started.pop(key, None)
            self._unsettled[key] = report
            self._reports.append(report)
            self._stir()

    def stopped(self, execution: Execution) -> None:
        """The code of a cancelled attempt has ended: its slot is free."""
        with self._lock:
            if self._running.pop(execution.key, None) is not None:
                self._started.pop(execution.key, None)
                self._stopped.append(execution.key)
                self._stir()

    def hand_back(self, execution: Execution) -> None:
        """Let another worker have the attempt, without counting it as a failure."""
        with self._lock:
            if self._running.pop(execution.key, None) is not None:
                self._started.pop(execution.key, None)
                self._handed_back[execution.key] = None
                self._stir()

    def log(self, line: worker_pb2.LogLine) -> None:
        with self._lock:
            if len(self._logs) >= _MOST_LOG_LINES:
                # A task that logs faster than the network takes it must not fill the memory.
                self._logs.popleft()
                self._lost_logs += 1
            self._logs.append(line)
            self._stir()

    # -- for the session -------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Start nothing more; what is still delivered goes back."""
        with self._lock:
            self._draining = True
            self._stir()

    def executions(self) -> list[Execution]:
        with self._lock:
            return list(self._running.values())

    @property
    def idle(self) -> bool:
        """No code runs."""
        return not self._running

    @property
    def clean(self) -> bool:
        """Nothing that matters is left to send, and nothing sent waits to be settled."""
        with self._lock:
            return not (self._unsettled or self._handed_back or self._stopped or self._logs)

    def resume(self) -> list[worker_pb2.Attempt]:
        """Prepare for a new stream: returns what is in hand, and queues again what may have been lost with the old."""
        with self._lock:
            self._received.clear()
            self._stopped.clear()  # what is not in hand has stopped
            self._reports = deque(self._unsettled.values())
            self._started = {key: found.started_us for key, found in self._running.items() if found.started_us}
            self._due = bool(self._started)
            self._drain_told = False
            return [_attempt(key) for key in (*self._running, *self._unsettled)]

    def _has_news(self, due: bool) -> bool:
        return bool(
            self._reports
            or (due and (self._received or self._started))
            or self._handed_back
            or self._stopped
            or self._logs
            or self._canary is not None
            or self._draining is not self._drain_told
        )

    def next_frame(self) -> worker_pb2.WorkerFrame | None:
        """All news in one frame, as far as it fits; None when there are none."""
        with self._lock:
            self._woken = False
            due, self._due = self._due, False
            if due:
                self._woken_later = False
            if not self._has_news(due):
                return None
            received: dict[Key, None] = {}
            started: dict[Key, int] = {}
            if due:
                received, self._received = self._received, {}
                started, self._started = self._started, {}
            handed_back, self._handed_back = self._handed_back, {}
            stopped, self._stopped = self._stopped, []
            canary, self._canary = self._canary, None
            running = list(self._running) if canary is not None else []
            draining = self._draining
            self._drain_told = draining
            count = len(received) + len(started) + len(handed_back) + len(stopped) + len(running)
            logs, reports = self._take_bulk(self.max_bytes - count * _PER_ITEM, alone=count == 0)
        frame = worker_pb2.WorkerFrame(
            received=[_attempt(key) for key in received],
            completed=[report for report in reports if type(report) is worker_pb2.Completion],
            failed=[report for report in reports if type(report) is worker_pb2.Failure],
            logs=logs,
            draining=draining,
        )
        for key, at in started.items():
            frame.started.add(task_id=key[0], attempt=key[1], started_at_us=at)
        if handed_back:
            frame.handed_back.extend(_attempt(key) for key in handed_back)
        if stopped:
            frame.stopped.extend(_attempt(key) for key in stopped)
        if canary is not None:
            frame.heartbeat.canary = canary
            frame.heartbeat.running.extend(_attempt(key) for key in running)
        return frame

    def _take_bulk(self, room: int, *, alone: bool) -> tuple[list[worker_pb2.LogLine], list[Report]]:
        """Log lines and reports for a frame with that many bytes left; one goes at any size if it travels alone."""
        logs: list[worker_pb2.LogLine] = []
        reports: list[Report] = []
        while self._logs:
            size = (len(self._logs[0].message) + len(self._logs[0].metadata)) * 4 + _PER_ITEM
            if size > room and (logs or not alone):
                return logs, reports
            line = self._logs.popleft()
            if self._lost_logs:
                line.message += f" [{self._lost_logs} earlier lines of this worker were lost: they came too fast]"
                self._lost_logs = 0
            logs.append(line)
            room -= size
        # Log lines come before the report of their task, so reports wait until no line does.
        while self._reports:
            size = _size(self._reports[0])
            if size > room and (logs or reports or not alone):
                break
            reports.append(self._reports.popleft())
            room -= size
        return logs, reports


def _attempt(key: Key) -> worker_pb2.Attempt:
    return worker_pb2.Attempt(task_id=key[0], attempt=key[1])


def _size(report: Report) -> int:
    return (len(report.output) if type(report) is worker_pb2.Completion else len(report.error) * 4) + _PER_ITEM
