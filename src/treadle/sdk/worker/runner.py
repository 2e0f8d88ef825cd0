"""Runs the code of tasks: async functions on the worker's event loop, plain ones in threads."""

from __future__ import annotations

import contextvars
import time
import traceback
from typing import TYPE_CHECKING, Any

from treadle.model.errors import InvalidInput
from treadle.sdk.codec import BadOutput
from treadle.sdk.context import CancelReason, clean_text, running
from treadle.sdk.errors import NonRetryable, RetryAfter
from treadle.sdk.options import milliseconds
from treadle.wire.gen.treadle.v1 import worker_pb2

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from treadle.sdk.worker.execution import Execution
    from treadle.sdk.worker.frames import Report
    from treadle.sdk.worker.ledger import Ledger
    from treadle.sdk.worker.threads import Threads

_LONGEST_ERROR = 32 * 1024
_HEADROOM = 64 * 1024


class Runner:
    """Starts executions and reports how they end. `start` and `cancel` are called by the session's thread."""

    def __init__(self, ledger: Ledger[Execution], threads: Threads, loop: asyncio.AbstractEventLoop) -> None:
        self._ledger = ledger
        self._threads = threads
        self._loop = loop
        self._base = contextvars.copy_context()
        # The loop itself holds tasks only weakly while they wait.
        self._alive: set[Execution] = set()

    def start(self, executions: Iterable[Execution]) -> None:
        batch: list[Execution] = []
        for execution in executions:
            if execution.task.is_async:
                batch.append(execution)
            else:
                # Straight into a thread: plain functions start even while an async one blocks the loop.
                self._threads.submit(self._base.copy().run, self._run_plain, execution)
        if batch:
            self._on_loop(self._start_batch, batch)

    def cancel(self, execution: Execution) -> None:
        """Stop an attempt whose flag is set: an async function is interrupted; a plain one sees the flag."""
        if execution.task.is_async:
            self._on_loop(self._interrupt, execution)

    def abandon(self, execution: Execution, reason: CancelReason) -> None:
        """Set the flag, and stop the attempt."""
        execution.cancel(reason)
        self.cancel(execution)

    def _on_loop(self, callback: Any, *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            return  # the loop is closed: the worker is going away, and so is its session

    def _start_batch(self, batch: list[Execution]) -> None:
        create = self._loop.create_task
        self._alive.update(batch)
        for execution in batch:
            execution.waiting = create(self._run_async(execution))

    def _interrupt(self, execution: Execution) -> None:
        # A task that is cancelled before its first step never runs a line: it has to see the flag by itself instead.
        if execution.waiting is not None and execution.started_us:
            execution.waiting.cancel()

    async def _run_async(self, execution: Execution) -> None:
        context = execution.context
        if context.cancel_reason is not None:
            self._end(execution, None)
            self._alive.discard(execution)
            return
        running.set(context)
        self._begin(execution)
        report: Report
        try:
            task = execution.task
            args, kwargs = task.input.decode(execution.input)
            value = await (
                task.function(context, *args, **kwargs) if task.takes_context else task.function(*args, **kwargs)
            )
            report = self._completion(execution, value)
        except BaseException as error:  # noqa: BLE001 - also SystemExit: a task must not end the worker
            report = self._failure(execution, error)
        self._end(execution, report)
        self._alive.discard(execution)

    def _run_plain(self, execution: Execution) -> None:
        context = execution.context
        if context.cancel_reason is not None:
            self._end(execution, None)
            return
        running.set(context)
        self._begin(execution)
        report: Report
        try:
            task = execution.task
            args, kwargs = task.input.decode(execution.input)
            value = task.function(context, *args, **kwargs) if task.takes_context else task.function(*args, **kwargs)
            report = self._completion(execution, value)
        except BaseException as error:  # noqa: BLE001 - also SystemExit: a task must not end the worker
            report = self._failure(execution, error)
        self._end(execution, report)

    def _begin(self, execution: Execution) -> None:
        execution.started_us = time.time_ns() // 1000
        self._ledger.started(execution)

    def _completion(self, execution: Execution, value: Any) -> worker_pb2.Completion:
        output = execution.task.output.encode(value)
        if len(output) > self._ledger.max_bytes - _HEADROOM:
            raise BadOutput(
                f"{execution.task.full_name} returned {len(output) / 2**20:.1f} MiB of JSON; messages hold "
                f"{self._ledger.max_bytes / 2**20:.1f} MiB: store the data elsewhere and return a reference"
            )
        # Field by field, as that costs a third of what keyword arguments do.
        done = worker_pb2.Completion()
        done.task_id, done.attempt = execution.key
        done.output = output
        done.started_at_us = execution.started_us
        return done

    def _failure(self, execution: Execution, error: BaseException) -> worker_pb2.Failure:
        return worker_pb2.Failure(
            task_id=execution.key[0],
            attempt=execution.key[1],
            error=failure_text(error),
            # A bad output would come with the same effects again, and an input does not get better.
            should_not_retry=isinstance(error, NonRetryable | BadOutput)
            or is_bad_input(error, execution.task.input.task),
            retry_after_ms=milliseconds(error.delay) if isinstance(error, RetryAfter) else None,
            started_at_us=execution.started_us,
        )

    def _end(self, execution: Execution, report: Report | None) -> None:
        """The code has ended (or never began, without a report): tell the engine what matters now."""
        reason = execution.context.cancel_reason
        if reason is None and report is not None:
            self._ledger.report(execution, report)
        elif execution.overdue:
            self._ledger.report(
                execution,
                worker_pb2.Failure(
                    task_id=execution.key[0],
                    attempt=execution.key[1],
                    error="TimeoutError: stopped by the worker, as the attempt's time was long over",
                    started_at_us=execution.started_us,
                ),
            )
        elif reason != "shutting down":
            self._ledger.stopped(execution)
        elif type(report) is worker_pb2.Completion:
            self._ledger.report(execution, report)
        else:
            # Whatever it raised, it was interrupted by us.
            self._ledger.hand_back(execution)


def is_bad_input(error: BaseException, task: str) -> bool:
    """Whether the worker could not read the input of this task, or workflow; an InvalidInput of the task's own calls has another field."""
    if not isinstance(error, InvalidInput) or not (error.field == task or error.field.startswith(f"{task}.")):
        return False
    frame = error.__traceback__
    return frame is not None and _own_frames_end(error) is None


def failure_text(error: BaseException) -> str:
    """What callers and people see of a failure: `Type: message`, then the traceback of the user's code."""
    kind = type(error)
    name = kind.__name__ if kind.__module__ == "builtins" else kind.__qualname__
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - user exceptions do what they like
        message = "(its text cannot be made)"
    try:
        trace = "".join(traceback.format_exception(kind, error, _own_frames_end(error)))
    except Exception:  # noqa: BLE001 - as above; the text matters more than the traceback
        trace = ""
    first = f"{name}: {message}" if message else name
    return clean_text(f"{first}\n{trace}", _LONGEST_ERROR)


def _own_frames_end(error: BaseException) -> Any:
    """The traceback from the user's first frame on; None when the error is from the worker's own steps."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_globals.get("__name__", "").startswith("treadle.sdk."):
        frame = frame.tb_next
    return frame
