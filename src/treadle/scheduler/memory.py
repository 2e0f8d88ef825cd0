"""All that the loop holds in memory. It can be thrown away at any time and loaded from the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.attempt import attempt_from_columns
from treadle.engine.enqueue import Positions
from treadle.engine.ports import StopReason
from treadle.engine.running import Running
from treadle.engine.workflow import Workflows
from treadle.scheduler.core import Core
from treadle.scheduler.events import Available, Found, Joined, Left
from treadle.scheduler.timers import Timers
from treadle.storage.enqueue import filled_queues
from treadle.storage.recover import running_attempts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from treadle.engine.attempt import Attempt
    from treadle.engine.batch import Batch
    from treadle.engine.catalog import Catalog
    from treadle.engine.commands import Redeliver, WorkerChanged, WorkerJoined
    from treadle.storage.database import Conn


class Memory:
    """Queues, running attempts, workers and timers of the tenants that this engine owns.

    Args:
        tenant_ids: those tenants.
    """

    def __init__(self, tenant_ids: Sequence[int] = ()) -> None:
        self.tenant_ids = list(tenant_ids)
        self.core = Core()
        self.running = Running()
        self.workflows = Workflows()
        self.timers = Timers(self.tenant_ids)
        self.positions = Positions()
        # Connected workers, as they joined.
        self._joined: dict[str, WorkerJoined] = {}
        # Those that somebody wants to rest, and those that rest because they are silent.
        self._resting: set[str] = set()
        self._silent: set[str] = set()
        # What ended in a commit that failed: it runs on, and its worker has it.
        self.ended_in_vain: list[Attempt] = []

    async def load(self, catalog: Catalog, conn: Conn, now: float) -> None:
        """Read the state of the tenants' queues from the tables."""
        for tenant_id in self.tenant_ids:
            for queue_id in await filled_queues(conn, tenant_id=tenant_id):
                self.core.apply(Found(queue_id, tenant_id), now)
        rows = await running_attempts(conn, tenant_ids=self.tenant_ids)
        await catalog.load_versions(conn, (row.task.version for row in rows))
        for row in rows:
            attempt = attempt_from_columns(
                catalog.kind(row.task.version, row.task.step),
                task_id=row.task_id,
                attempt=row.attempt,
                columns=row.task,
                retries_used=row.retries_used,
                reassigned=row.reassigned,
            )
            attempt.worker_id = row.worker_id
            attempt.assigned_at = row.assigned_at.timestamp()
            attempt.timeout_at = row.timeout_at.timestamp()
            attempt.started_at = None if row.started_at is None else row.started_at.timestamp()
            attempt.holds_slot = not row.slot_released
            self.running.inherit(attempt)
        await self.timers.load(conn)

    def holds(self, tenant_id: int, task_id: str) -> bool:
        """Whether a run waits in a window or runs, so that its end will be told."""
        return self.run_of(tenant_id, task_id) is not None

    def run_of(self, tenant_id: int, task_id: str) -> str | None:
        """The run that a task is part of, if it waits in a window or runs: its own, or a workflow run."""
        attempt = self.running.current(tenant_id, task_id, 0) or self.core.waiting(task_id)
        if attempt is not None:
            return attempt.workflow_run_id if attempt.kind.tenant_id == tenant_id else None
        return task_id if self.workflows.holds(tenant_id, task_id) else None

    def connected(self, worker_id: str) -> bool:
        """Whether a worker has a stream, at whichever engine."""
        return worker_id in self._joined

    def absent_workers(self) -> dict[str, int]:
        """Workers that run something but have no stream here, with their tenants."""
        return {
            worker_id: tenant_id
            for worker_id, tenant_id in self.running.workers().items()
            if worker_id not in self._joined
        }

    def follow(self, before: Memory, batch: Batch) -> None:
        """Take over the connected workers of a memory that was thrown away.

        Attempts that the tables give to a connected worker but that were never handed to its stream, because the
        answer to their commit was lost, are delivered now.
        """
        known = [attempt for worker_id in before._joined for attempt in before.running.of_worker(worker_id)]
        delivered = {
            (attempt.task_id, attempt.attempt) for attempt in known + before.ended_in_vain if attempt.delivered
        }
        self._resting = before._resting
        self._silent = before._silent
        for worker_id, joined in before._joined.items():
            if joined.tenant_id not in self.tenant_ids:
                # Its tenant has another owner now: the worker opens its stream again, and is passed on.
                joined.port.close()
                continue
            self._enlist(joined, batch.now)
            self._set_available(worker_id, batch.now)
            for attempt in self.running.of_worker(worker_id):
                if (attempt.task_id, attempt.attempt) in delivered:
                    attempt.delivered = True
                else:
                    batch.redelivered.append(attempt)

    # -- workers -------------------------------------------------------------------------------------------------

    def join(self, joined: WorkerJoined, batch: Batch) -> None:
        """A worker's stream is open: count its slots, and settle what it has in hand."""
        worker_id = joined.worker_id
        earlier = self._joined.get(worker_id)
        # A commit that failed may have opened this very stream before.
        repeated = earlier is not None and earlier.port is joined.port
        self._enlist(joined, batch.now)
        # Its slots are counted anew: what came free earlier in this commit is in the count.
        batch.freed = [entry for entry in batch.freed if entry[0] != worker_id]
        if joined.paused:
            self._resting.add(worker_id)
        else:
            self._resting.discard(worker_id)
        self._silent.discard(worker_id)
        self._set_available(worker_id, batch.now)
        current = {(attempt.task_id, attempt.attempt): attempt for attempt in self.running.of_worker(worker_id)}
        for key, attempt in current.items():
            if repeated and attempt.delivered:
                continue
            attempt.delivered = joined.in_hand is None or key in joined.in_hand
            if not attempt.delivered:
                batch.redelivered.append(attempt)
        for task_id, number in (joined.in_hand or set()) - current.keys():
            batch.stops.append((worker_id, task_id, number, StopReason.SUPERSEDED))

    def _enlist(self, joined: WorkerJoined, now: float) -> None:
        worker_id = joined.worker_id
        self._joined[worker_id] = joined
        self.core.apply(
            Joined(
                worker_id,
                tenant_id=joined.tenant_id,
                queue_ids=joined.queue_ids,
                capacity=joined.capacity,
                occupied=[a.kind.slots for a in self.running.of_worker(worker_id) if a.holds_slot],
            ),
            now,
        )
        self.running.forget_lingering(worker_id)
        self.running.says_when_stopped(worker_id, says=joined.in_hand is not None)

    def change(self, changed: WorkerChanged, now: float) -> None:
        """A worker rests, resumes, or its stream has closed."""
        worker_id = changed.worker_id
        joined = self._joined.get(worker_id)
        if joined is None or (changed.port is not None and changed.port is not joined.port):
            return
        if changed.gone:
            self._forget(worker_id, now)
            return
        reasons = self._silent if changed.pulse else self._resting
        if changed.available:
            reasons.discard(worker_id)
        else:
            reasons.add(worker_id)
        self._set_available(worker_id, now)

    def lose(self, worker_id: str, batch: Batch) -> None:
        """A silent worker gets nothing more on the stream that it had. Should it be alive, it opens another and is
        told there what is not its own any more."""
        joined = self._joined.get(worker_id)
        if joined is not None:
            batch.after.append(joined.port.close)
            self._forget(worker_id, batch.now)

    def _forget(self, worker_id: str, now: float) -> None:
        del self._joined[worker_id]
        self._resting.discard(worker_id)
        self._silent.discard(worker_id)
        self.running.says_when_stopped(worker_id, says=False)
        self.running.forget_lingering(worker_id)
        self.core.apply(Left(worker_id), now)

    def _set_available(self, worker_id: str, now: float) -> None:
        available = worker_id not in self._resting and worker_id not in self._silent
        self.core.apply(Available(worker_id, available=available), now)

    def redeliver(self, command: Redeliver, batch: Batch) -> None:
        """Send again what was assigned before the stream opened and has not begun since."""
        joined = self._joined.get(command.worker_id)
        if joined is None or joined.port is not command.port:
            return
        batch.redelivered.extend(
            attempt
            for attempt in self.running.of_worker(command.worker_id)
            if attempt.started_at is None and attempt.assigned_at <= command.unstarted_since
        )

    # -- telling workers -----------------------------------------------------------------------------------------

    def redeliverable(self, batch: Batch) -> list[Attempt]:
        """What is to be sent again, once each: not what has ended in the same commit."""
        return [
            attempt
            for attempt in dict.fromkeys(batch.redelivered)
            if self.running.current(attempt.kind.tenant_id, attempt.task_id, attempt.attempt) is attempt
        ]

    def deliver(self, attempts: Iterable[Attempt]) -> None:
        """Hand attempts to their workers' streams; what has no stream now waits for its worker to come back."""
        by_worker: dict[str, list[Attempt]] = {}
        for attempt in attempts:
            by_worker.setdefault(attempt.worker_id, []).append(attempt)
        for worker_id, items in by_worker.items():
            joined = self._joined.get(worker_id)
            if joined is None:
                continue
            joined.port.deliver(items)
            for attempt in items:
                attempt.delivered = True
                attempt.input = None
                if attempt.run_id is not None:
                    attempt.parents = attempt.errors = None

    def stop(self, worker_id: str, task_id: str, number: int, reason: StopReason) -> None:
        """Tell a worker to stop an attempt, if it is connected."""
        joined = self._joined.get(worker_id)
        if joined is not None:
            joined.port.stop(task_id, number, reason)
