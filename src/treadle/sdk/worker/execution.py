"""Attempts whose code runs in this process, and how they come to run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from treadle.sdk.context import CancelReason, Context
from treadle.sdk.steps import WorkflowFunction
from treadle.sdk.worker.runner import Runner
from treadle.wire.gen.treadle.v1 import worker_pb2

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Mapping
    from datetime import timedelta

    from treadle.sdk.gateway import Gateway
    from treadle.sdk.runnable import Runnable
    from treadle.sdk.worker.frames import Key
    from treadle.sdk.worker.ledger import Ledger
    from treadle.sdk.worker.threads import Threads

    HeldT_contra = TypeVar("HeldT_contra", contravariant=True)

    class Hands(Protocol[HeldT_contra]):
        """What runs the code: this process, or its children. All on the I/O thread."""

        async def open(self) -> None:
            """Get ready to take deliveries."""

        def start(self, deliveries: Iterable[worker_pb2.Delivery]) -> None:
            """Run attempts."""

        def cancel(self, held: HeldT_contra) -> None:
            """Stop one whose reason is set."""

        def abandon_all(self) -> None:
            """Stop all, as the worker is going away."""

        def tick(self) -> None:
            """About a second has passed."""

        async def close(self) -> None:
            """Leave nothing behind."""


_OWN_DEADLINE_SECONDS = 10.0
"""How much later than the engine the worker itself gives up on an attempt: for when it is cut off."""


class Execution:
    """One attempt in this process's hand."""

    __slots__ = ("context", "deadline", "input", "key", "overdue", "started_us", "task", "told", "waiting")

    def __init__(self, key: Key, task: Runnable, context: Context, data: bytes, deadline: float | None) -> None:
        self.key: Key = key
        self.task: Runnable = task
        self.context: Context = context
        self.input: bytes = data
        self.deadline: float | None = deadline
        """When the worker itself gives up on the attempt, by the monotonic clock."""
        self.overdue: bool = False
        self.started_us: int = 0
        self.told: bool = False
        self.waiting: asyncio.Task[None] | None = None
        """The asyncio task, for async functions."""

    @property
    def cancel_reason(self) -> CancelReason | None:
        return self.context.cancel_reason

    def cancel(self, reason: CancelReason) -> None:
        """Set the flag that the code sees."""
        self.context._cancel(reason)  # noqa: SLF001 - classes of one family


class OwnHands:
    """Runs attempts in this process; also what their contexts need of the worker (see context.Host)."""

    def __init__(
        self,
        ledger: Ledger[Execution],
        threads: Threads,
        loop: asyncio.AbstractEventLoop,
        *,
        actions: Mapping[str, Runnable],
        labels: Mapping[str, str],
        connect: Callable[[], Gateway],
    ) -> None:
        """Make them.

        Args:
            ledger: What is in hand.
            threads: For plain functions.
            loop: For async functions.
            actions: What there is to run.
            labels: Of the worker.
            connect: The app's connection, made when a task first needs it.
        """
        self.labels = labels
        self._ledger = ledger
        self._runner = Runner(ledger, threads, loop)
        self._actions = actions
        self._connect = connect

    @property
    def gateway(self) -> Gateway:
        """The connection for what tasks ask of the engine."""
        return self._connect()

    def log(self, line: worker_pb2.LogLine) -> None:
        """Send a task's log line."""
        self._ledger.log(line)

    def extend_deadline(self, context: Context, by: timedelta) -> None:
        """Note that the engine has given an attempt more time."""
        for execution in self._ledger.executions():
            if execution.context is context and execution.deadline is not None:
                execution.deadline += by.total_seconds()

    async def open(self) -> None:
        """Nothing is to be done."""

    def start(self, deliveries: Iterable[worker_pb2.Delivery]) -> None:
        """Run attempts."""
        batch: list[Execution] = []
        now = time.monotonic()
        for delivery in deliveries:
            task = self._actions.get(delivery.action)
            if task is None:
                self._ledger.refuse(
                    worker_pb2.Failure(
                        task_id=delivery.task_id,
                        attempt=delivery.attempt,
                        error=f"LookupError: this worker has no task for {delivery.action}",
                    )
                )
                continue
            ms = delivery.timeout_ms
            context = self._context(task, delivery)
            batch.append(
                Execution(
                    (context.task_id, context.attempt),
                    task,
                    context,
                    delivery.input,
                    now + ms / 1000 + _OWN_DEADLINE_SECONDS if ms else None,
                )
            )
        if batch:
            self._runner.start(self._ledger.take(batch))

    def _context(self, task: Runnable, delivery: worker_pb2.Delivery) -> Context:
        if isinstance(task, WorkflowFunction):
            return Context(task.name, delivery, self, task.workflow, task.conditions.keys)
        return Context(task.name, delivery, self)

    def cancel(self, held: Execution) -> None:
        """Stop one whose reason is set."""
        self._runner.cancel(held)

    def abandon_all(self) -> None:
        """Stop all, as the worker is going away."""
        for execution in self._ledger.executions():
            self._runner.abandon(execution, "shutting down")

    def tick(self) -> None:
        """Stop attempts whose time was over long ago: the engine would have said so, were it there."""
        now = time.monotonic()
        for execution in self._ledger.executions():
            if execution.deadline is not None and execution.deadline < now:
                execution.overdue = True
                execution.deadline = None
                self._runner.abandon(execution, "timed out")

    async def close(self) -> None:
        """Nothing is to be done."""
