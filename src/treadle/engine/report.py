"""Report: what a worker says of its attempts, sorted into moves. Only the current attempt of a task can be moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.commands import Report, Stale
from treadle.engine.complete import complete
from treadle.engine.fail import fail, lose
from treadle.engine.ports import StopReason
from treadle.engine.start import start

if TYPE_CHECKING:
    from treadle.engine.attempt import Attempt
    from treadle.engine.batch import Batch
    from treadle.engine.commands import AttemptKey
    from treadle.engine.running import Running


def apply(report: Report, running: Running, batch: Batch) -> None:
    """Carry out a report. Whatever in it speaks of a superseded, ended or foreign attempt changes nothing."""
    reading = _Reading(report, running, batch)
    # Lines of an attempt that is not current are dropped: its code should have stopped.
    batch.logs.extend(
        (report.tenant_id, line)
        for line in report.logs
        if report.late_logs or reading.current(line.task_id, line.attempt) is not None
    )
    reading.starts()
    reading.completions()
    reading.failures()
    reading.returns()
    reading.doubts()
    batch.after.append(lambda: report.answer(reading.settled, reading.stale, None))


class _Reading:
    """One report on its way into a commit."""

    __slots__ = ("batch", "report", "running", "settled", "stale")

    def __init__(self, report: Report, running: Running, batch: Batch) -> None:
        self.report = report
        self.running = running
        self.batch = batch
        self.settled: list[AttemptKey] = []
        self.stale: list[Stale] = []

    def current(self, task_id: str, number: int) -> Attempt | None:
        """The attempt, if it is current and the reporting worker's."""
        attempt = self.running.current(self.report.tenant_id, task_id, number)
        return attempt if attempt is None or self.report.worker_id in ("", attempt.worker_id) else None

    def superseded(self, task_id: str, number: int) -> None:
        """Tell the worker that this attempt is not its own any more."""
        self.stale.append(Stale(task_id, number, StopReason.SUPERSEDED))

    def starts(self) -> None:
        for started in self.report.started:
            attempt = self.current(started.task_id, started.attempt)
            if attempt is None:
                self.superseded(started.task_id, started.attempt)
            else:
                start(attempt, started.started_at, self.batch, keep=self.report.keep_starts)

    def completions(self) -> None:
        for done in self.report.completed:
            self.settled.append((done.task_id, done.attempt))
            attempt = self.current(done.task_id, done.attempt)
            if attempt is None:
                self.superseded(done.task_id, done.attempt)
            else:
                complete(attempt, done.output, done.started_at, self.running, self.batch)

    def failures(self) -> None:
        for failed in self.report.failed:
            self.settled.append((failed.task_id, failed.attempt))
            attempt = self.current(failed.task_id, failed.attempt)
            if attempt is None:
                self.superseded(failed.task_id, failed.attempt)
                continue
            if attempt.started_at is None and failed.started_at is not None:
                attempt.started_at = min(max(failed.started_at, attempt.assigned_at), self.batch.now)
            fail(
                attempt,
                failed.error,
                self.running,
                self.batch,
                should_not_retry=failed.should_not_retry,
                retry_after=failed.retry_after,
            )

    def returns(self) -> None:
        """Attempts that are given back, and slots that came free after a stop."""
        for task_id, number in self.report.handed_back:
            attempt = self.current(task_id, number)
            self.settled.append((task_id, number))
            if attempt is not None:
                lose(attempt, self.running, self.batch, handed_back=True)
        for task_id, number in self.report.lost:
            attempt = self.current(task_id, number)
            self.settled.append((task_id, number))
            if attempt is not None:
                lose(attempt, self.running, self.batch, handed_back=False)
        for task_id, number in self.report.stopped:
            attempt = self.running.settle_stopped(self.report.worker_id, task_id, number)
            if attempt is not None:
                self.batch.freed.append((attempt.worker_id, attempt.kind.slots))

    def doubts(self) -> None:
        """Attempts that the worker runs, although they may have gone elsewhere."""
        for task_id, number in self.report.running:
            if self.current(task_id, number) is None:
                self.superseded(task_id, number)
