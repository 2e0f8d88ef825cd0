"""Threads for plain functions.

Unlike those of `concurrent.futures`, they do not hold up the end of the process: a function that never returns must not
keep a worker alive that has handed its work back.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_Job = tuple["Callable[..., None]", tuple[Any, ...]]


class Threads:
    """Runs jobs, each in a thread at once; threads are made when needed and kept.

    There is no limit here: the engine never gives a worker more than it has slots for, and a task that releases its slot
    keeps its thread. Jobs must not raise.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0

    def submit(self, job: Callable[..., None], *args: Any) -> None:
        """Run a job soon. Only one thread may submit."""
        self._jobs.put((job, args))
        if self._idle.acquire(blocking=False):
            return
        self._count += 1
        threading.Thread(target=self._work, name=f"treadle-task-{self._count}", daemon=True).start()

    def _work(self) -> None:
        while (entry := self._jobs.get()) is not None:
            job, args = entry
            job(*args)
            del entry, job, args  # a waiting thread must not keep the last job's values alive
            self._idle.release()

    def close(self) -> None:
        """End the threads that wait; the others end after their job."""
        for _ in range(self._count):
            self._jobs.put(None)
