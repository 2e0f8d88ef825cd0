"""The attempts that run, by task, with their deadlines."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from treadle.engine.attempt import Attempt


class Running:
    """Memory of the attempt table: the loop alone reads and writes it."""

    def __init__(self) -> None:
        self._by_task: dict[str, Attempt] = {}
        self._by_worker: dict[str, dict[str, Attempt]] = {}
        # (deadline, task, attempt); an entry is stale when the attempt has ended or its deadline has moved.
        self._deadlines: list[tuple[float, str, int]] = []
        # Attempts that were stopped but whose code still holds a slot, until the worker says that it has ended.
        self._lingering: dict[tuple[str, int], Attempt] = {}
        # Workers that say so.
        self._saying: set[str] = set()
        # Of attempts that have spawned children, the highest index among these; beyond any where it is not known.
        self._spawned: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._by_task)

    def add(self, attempt: Attempt) -> None:
        """An attempt begins to run."""
        self._by_task[attempt.task_id] = attempt
        of_worker = self._by_worker.get(attempt.worker_id)
        if of_worker is None:
            of_worker = self._by_worker[attempt.worker_id] = {}
        of_worker[attempt.task_id] = attempt
        self.watch(attempt)

    def inherit(self, attempt: Attempt) -> None:
        """As `add`, for an attempt that has been running for a while."""
        self.add(attempt)
        self._spawned[attempt.task_id] = math.inf

    def spawns_first(self, attempt: Attempt, index: int) -> bool:
        """Whether a task in its first attempt spawns a child under an index that it cannot have used before."""
        if index <= self._spawned.get(attempt.task_id, -1):
            return False
        self._spawned[attempt.task_id] = index
        return True

    def watch(self, attempt: Attempt) -> None:
        """Note an attempt's (new) deadline."""
        heapq.heappush(self._deadlines, (attempt.timeout_at, attempt.task_id, attempt.attempt))

    def current(self, tenant_id: int, task_id: str, attempt: int) -> Attempt | None:
        """The running attempt, if it is this one (0: whichever) and this tenant's."""
        found = self._by_task.get(task_id)
        if found is None or found.kind.tenant_id != tenant_id or attempt not in (0, found.attempt):
            return None
        return found

    def remove(self, attempt: Attempt) -> None:
        """An attempt has ended."""
        del self._by_task[attempt.task_id]
        of_worker = self._by_worker[attempt.worker_id]
        del of_worker[attempt.task_id]
        if not of_worker:
            del self._by_worker[attempt.worker_id]
        if self._spawned:
            self._spawned.pop(attempt.task_id, None)
        if len(self._deadlines) > 4 * len(self._by_task) + 10_000:
            self._deadlines = [(a.timeout_at, a.task_id, a.attempt) for a in self._by_task.values()]
            heapq.heapify(self._deadlines)

    def of_worker(self, worker_id: str) -> list[Attempt]:
        """What a worker runs."""
        return list(self._by_worker.get(worker_id, {}).values())

    def workers(self) -> dict[str, int]:
        """Every worker that runs something, with its tenant."""
        return {
            worker_id: next(iter(attempts.values())).kind.tenant_id for worker_id, attempts in self._by_worker.items()
        }

    def overdue(self, now: float) -> Iterator[Attempt]:
        """Attempts whose deadline has passed; each is yielded once."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now:
            deadline, task_id, number = heapq.heappop(deadlines)
            attempt = self._by_task.get(task_id)
            if attempt is not None and attempt.attempt == number and attempt.timeout_at == deadline:
                yield attempt

    def next_deadline(self) -> float | None:
        """When the next deadline may pass; early rather than late."""
        return self._deadlines[0][0] if self._deadlines else None

    def says_when_stopped(self, worker_id: str, *, says: bool) -> None:
        """Note whether a worker tells when the code of a stopped attempt has really ended."""
        if says:
            self._saying.add(worker_id)
        else:
            self._saying.discard(worker_id)

    def linger(self, attempt: Attempt) -> bool:
        """Keep the slot of a stopped attempt taken, if its worker will say when the code has ended."""
        if attempt.worker_id not in self._saying:
            return False
        self._lingering[attempt.task_id, attempt.attempt] = attempt
        return True

    def settle_stopped(self, worker_id: str, task_id: str, number: int) -> Attempt | None:
        """The code of a stopped attempt of this worker has ended: the attempt whose slot is free now."""
        attempt = self._lingering.get((task_id, number))
        if attempt is None or attempt.worker_id != worker_id:
            return None
        return self._lingering.pop((task_id, number))

    def forget_lingering(self, worker_id: str) -> None:
        """A worker's slots are counted anew."""
        for key in [key for key, attempt in self._lingering.items() if attempt.worker_id == worker_id]:
            del self._lingering[key]


class RunningView:
    """Looks at the running attempts from outside the loop, through whatever memory the loop holds at the moment."""

    def __init__(self, source: Callable[[], Running]) -> None:
        self._source = source

    def current(self, tenant_id: int, task_id: str, attempt: int) -> Attempt | None:
        """As `Running.current`."""
        return self._source().current(tenant_id, task_id, attempt)
