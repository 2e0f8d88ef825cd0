"""What the worker has in hand, and what it still has to tell the engine.

The code of tasks runs in other threads, or other processes, than the session that reports on it. This is where they
meet; every method may be called from any thread. A report is kept until the engine says that it is settled, that is,
committed or stale, and is sent again after a break.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from treadle.sdk.worker.frames import EncodedReport, Key, News, Report, log_of, log_part, report_part
from treadle.wire.gen.treadle.v1 import worker_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from treadle.sdk.context import CancelReason

_MOST_LOG_LINES = 10_000
_PER_ITEM = 96
"""Bytes of a frame that an entry takes at most, beside reports and log lines."""


class Held(Protocol):
    """An attempt in this worker's hand."""

    key: Key
    started_us: int
    told: bool
    """Whether the engine has been told of it: then its start has to be told too."""

    @property
    def cancel_reason(self) -> CancelReason | None: ...
    def cancel(self, reason: CancelReason) -> None: ...


HeldT = TypeVar("HeldT", bound=Held)


class Ledger(Generic[HeldT]):
    """Attempts, reports, log lines: everything that goes into the next frame."""

    def __init__(
        self, wake: Callable[[], None], wake_later: Callable[[], None], max_bytes: int, *, keeps: bool = True
    ) -> None:
        """Make an empty one.

        Args:
            wake: Called, from any thread, when there is something to send; once until the next frame is taken.
            wake_later: As `wake`, when there is something that can wait some milliseconds; `is_due` is to be called
                after them. Most tasks end sooner, and then their report says it all.
            max_bytes: Largest frame to make.
            keeps: Whether to acknowledge deliveries, and to keep reports until they are settled. A child process does
                not: its parent does.
        """
        self._lock = threading.Lock()
        self._wake = wake
        self._woken = False
        self._wake_later = wake_later
        self._woken_later = False
        self._due = False
        self._keeps = keeps
        self.max_bytes = max_bytes
        self._running: dict[Key, HeldT] = {}
        self._unsettled: dict[Key, bytes] = {}
        self._received: dict[Key, None] = {}
        self._started: dict[Key, int] = {}
        self._reports: deque[EncodedReport] = deque()
        self._handed_back: dict[Key, None] = {}
        self._lost: list[Key] = []
        self._stopped: list[Key] = []
        self._logs: deque[worker_pb2.LogLine] = deque()
        self._lost_logs = 0
        self._canary = 0
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

    def take(self, delivered: Iterable[HeldT]) -> list[HeldT]:
        """Note delivered attempts; returns those to start: not what is in hand already, or must not start any more."""
        fresh: list[HeldT] = []
        with self._lock:
            for held in delivered:
                key = held.key
                self._received[key] = None
                if key in self._running or key in self._unsettled:
                    continue
                if self._draining:
                    self._handed_back[key] = None
                    self._stir()
                    continue
                if self._handed_back:
                    self._handed_back.pop(key, None)
                self._running[key] = held
                fresh.append(held)
            self._stir_later()
        return fresh

    def refuse(self, report: worker_pb2.Failure) -> None:
        """Report an attempt that cannot be started here."""
        key = (report.task_id, report.attempt)
        with self._lock:
            if key not in self._unsettled:
                self._add_report(*key, report_part(report))
            self._stir()

    def settle(self, attempts: Iterable[worker_pb2.Attempt]) -> None:
        """Forget reports that the engine has dealt with."""
        with self._lock:
            forget = self._unsettled.pop
            for attempt in attempts:
                forget((attempt.task_id, attempt.attempt), None)

    def to_cancel(self, key: Key, reason: CancelReason) -> HeldT | None:
        """The attempt to stop, if its code runs here; if it is not here at all, say that it has stopped."""
        with self._lock:
            held = self._running.get(key)
            if held is not None:
                if held.cancel_reason not in (None, "shutting down"):
                    return None  # once: code that is cleaning up must not be interrupted again
                held.cancel(reason)
                return held
            if key not in self._unsettled:
                self._stopped.append(key)
                self._stir()
            return None

    def saw_canary(self, number: int) -> None:
        with self._lock:
            self._canary = number
            self._stir()

    # -- from the code of tasks ------------------------------------------------------------------------------------

    def started(self, held: HeldT) -> None:
        """The code has begun, and `started_us` says when."""
        # If the engine has heard nothing of the attempt yet, the first word about it will tell this too.
        if held.told:
            with self._lock:
                if held.key in self._running:
                    self._started[held.key] = held.started_us
                    self._stir_later()

    def report(self, held: HeldT, report: Report) -> None:
        """The code has ended and this came of it."""
        part = report_part(report)
        with self._lock:
            if self._leave(held.key) is None:
                return  # handed back meanwhile
            self._add_report(*held.key, part)
            self._stir()

    def stopped(self, held: HeldT) -> None:
        """The code of a cancelled attempt has ended: its slot is free."""
        with self._lock:
            if self._leave(held.key) is not None:
                self._stopped.append(held.key)
                self._stir()

    def hand_back(self, held: HeldT) -> None:
        """Let another worker have the attempt, without counting it as a failure."""
        with self._lock:
            if self._leave(held.key) is not None:
                self._handed_back[held.key] = None
                self._stir()

    def lose(self, gone: Iterable[HeldT]) -> int:
        """The process that ran these has died; returns how many were in hand."""
        with self._lock:
            before = len(self._running)
            for held in gone:
                if self._leave(held.key) is None:
                    continue
                # One that was cancelled is over for the engine, which only waits for its slot.
                stopped = held.cancel_reason not in (None, "shutting down")
                (self._stopped if stopped else self._lost).append(held.key)
            self._stir()
            return before - len(self._running)

    def _leave(self, key: Key) -> HeldT | None:
        held = self._running.pop(key, None)
        if held is not None:
            # What is said next tells that it came and when the code started: what has not left yet need not.
            self._received.pop(key, None)
            if self._started:
                self._started.pop(key, None)
        return held

    def _add_report(self, task_id: str, attempt: int, part: bytes) -> None:
        if self._keeps:
            self._unsettled[task_id, attempt] = part
        self._reports.append((task_id, attempt, part))

    def log(self, line: worker_pb2.LogLine) -> None:
        with self._lock:
            self._add_log(line)
            self._stir()

    def _add_log(self, line: worker_pb2.LogLine) -> None:
        if len(self._logs) >= _MOST_LOG_LINES:
            # A task that logs faster than the network takes it must not fill the memory.
            self._logs.popleft()
            self._lost_logs += 1
        self._logs.append(line)

    def merge(self, news: News) -> int:
        """Take over the news of a child process; returns how many attempts have left its hands."""
        with self._lock:
            before = len(self._running)
            for part in news.logs:
                self._add_log(log_of(part))
            for task_id, attempt, at in news.started:
                held = self._running.get((task_id, attempt))
                if held is not None:
                    held.started_us = at
                    if held.told:
                        self._started[task_id, attempt] = at
                        self._stir_later()
            leave = self._leave
            for task_id, attempt, part in news.reports:
                if leave((task_id, attempt)) is not None:
                    self._add_report(task_id, attempt, part)
            for key in news.handed_back:
                if leave(key) is not None:
                    self._handed_back[key] = None
            self._stopped += [key for key in news.stopped if leave(key) is not None]
            self._stir()
            return before - len(self._running)

    # -- for the session -------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Start nothing more; what is still delivered goes back."""
        with self._lock:
            self._draining = True
            self._stir()

    def executions(self) -> list[HeldT]:
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
            return not (self._unsettled or self._handed_back or self._lost or self._stopped or self._logs)

    def resume(self) -> list[worker_pb2.Attempt]:
        """Prepare for a new stream: returns what is in hand, and queues again what may have been lost with the old."""
        with self._lock:
            self._received.clear()
            # What is not in hand has stopped, or is lost.
            self._stopped.clear()
            self._lost.clear()
            self._reports = deque((*key, part) for key, part in self._unsettled.items())
            self._started = {key: held.started_us for key, held in self._running.items() if held.started_us}
            for held in self._running.values():
                held.told = True
            self._due = bool(self._started)
            self._drain_told = False
            return [worker_pb2.Attempt(task_id=key[0], attempt=key[1]) for key in (*self._running, *self._unsettled)]

    def _has_news(self, due: bool) -> bool:
        return bool(
            self._reports
            or (due and (self._received or self._started))
            or self._handed_back
            or self._lost
            or self._stopped
            or self._logs
            or self._canary
            or self._draining is not self._drain_told
        )

    def news(self) -> News | None:
        """All news, as far as they fit into a frame; None when there are none."""
        with self._lock:
            self._woken = False
            due, self._due = self._due, False
            if due:
                self._woken_later = False
            if not self._has_news(due):
                return None
            received, started = self._take_young() if due else ([], [])
            handed_back, self._handed_back = list(self._handed_back), {}
            lost, self._lost = self._lost, []
            stopped, self._stopped = self._stopped, []
            canary, self._canary = self._canary, 0
            # Without what it has been told to stop: that may take its time, and the engine knows.
            running = [key for key, held in self._running.items() if held.cancel_reason is None] if canary else []
            self._drain_told = draining = self._draining
            count = len(received) + len(started) + len(handed_back) + len(lost) + len(stopped) + len(running)
            logs, reports = self._take_bulk(self.max_bytes - count * _PER_ITEM, alone=count == 0)
            return News(logs, received, started, reports, handed_back, lost, stopped, running, canary, draining)

    def _take_young(self) -> tuple[list[Key], list[tuple[str, int, int]]]:
        """Attempts that nothing has been told of yet, and starts to tell of."""
        started = [(*key, at) for key, at in self._started.items()]
        self._started = {}
        for key in self._received:
            held = self._running.get(key)
            if held is not None and not held.told:
                held.told = True
                if held.started_us:
                    started.append((*key, held.started_us))
        received, self._received = self._received, {}
        return list(received) if self._keeps else [], started

    def _take_bulk(self, room: int, *, alone: bool) -> tuple[list[bytes], list[EncodedReport]]:
        """Log lines and reports for a frame with that many bytes left; one goes at any size if it travels alone."""
        logs: list[bytes] = []
        reports: list[EncodedReport] = []
        while self._logs:
            line = self._logs[0]
            if self._lost_logs:
                line.message += f" [{self._lost_logs} earlier lines of this worker were lost: they came too fast]"
                self._lost_logs = 0
            part = log_part(line)
            if len(part) > room and (logs or not alone):
                return logs, reports
            self._logs.popleft()
            logs.append(part)
            room -= len(part)
        # Log lines come before the report of their task, so reports wait until no line does.
        while self._reports:
            size = len(self._reports[0][2])
            if size > room and (logs or reports or not alone):
                break
            reports.append(self._reports.popleft())
            room -= size
        return logs, reports
