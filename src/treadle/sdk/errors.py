"""What can go wrong for callers and for task code, each with what to do about it."""

# ruff: noqa: N818 - the names say what is wrong; "Error" would only repeat it

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from treadle.model.errors import TreadleError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from treadle.sdk.run import Run

Mistake = Literal["not-configured", "not-running", "bad-address", "http-port", "tls", "token", "lost"]


class ConnectionProblem(TreadleError):
    """The engine could not be reached, or a call broke off on the way.

    Attributes:
        mistake: What is wrong, for programs: `not-configured`, `not-running`, `bad-address`, `http-port`
            (the address is that of the web interface), `tls` (one side encrypts, the other does not), `token`
            (refused), or `lost` (the connection broke; the call may or may not have taken effect).
    """

    def __init__(self, mistake: Mistake, message: str) -> None:
        super().__init__("", message)
        self.args: tuple[Any, ...] = (mistake, message)
        self.mistake: Mistake = mistake


class TaskFailed(TreadleError):
    """A run ended in failure, after all its retries.

    Attributes:
        run_id: The run.
        task: The name of the task; of a task of a workflow, `workflow.task`.
        error: All the worker reported: `Type: message`, then the traceback.
    """

    def __init__(self, run_id: str, task: str, error: str) -> None:
        head, _, traceback = error.partition("\n")
        self.traceback: str = traceback
        super().__init__("", f"{task} (run {run_id}) failed: {head}")
        self.args: tuple[Any, ...] = (run_id, task, error)
        self.run_id = run_id
        self.task = task
        self.error = error
        # Texts of the engine itself, e.g. about a timeout, name no exception type.
        name, colon, rest = head.partition(": ")
        typed = bool(colon) and name.replace(".", "").replace("_", "").isalnum()
        self.error_type: str = name if typed else ""
        self.error_message: str = rest if typed else head


class TaskCancelled(TreadleError):
    """The run was cancelled before it could end."""

    def __init__(self, run_id: str, task: str, reason: str = "") -> None:
        super().__init__("", f"{task} (run {run_id}) was cancelled" + (f": {reason}" if reason else ""))
        self.args: tuple[Any, ...] = (run_id, task, reason)
        self.run_id = run_id
        self.task = task
        self.reason = reason


class TaskSkipped(TreadleError):
    """A task of a workflow was skipped, so it has no output."""

    def __init__(self, run_id: str, task: str) -> None:
        super().__init__(
            "", f"{task} (run {run_id}) was skipped and has no output: ask skipped(...) first, or pass default=..."
        )
        self.args: tuple[Any, ...] = (run_id, task)
        self.run_id = run_id
        self.task = task


class BulkPushFailed(TreadleError):
    """Some events of a bulk push were refused; all the others were stored.

    Attributes:
        ids: One entry per event, in order: its id, or None where it was refused.
        problems: The refusals by position in the list.
    """

    def __init__(self, ids: Sequence[str | None], problems: Mapping[int, TreadleError]) -> None:
        first = min(problems)
        super().__init__(
            "", f"{len(problems)} of {len(ids)} events were refused; the first, number {first}: {problems[first]}"
        )
        self.args: tuple[Any, ...] = (ids, problems)
        self.ids = ids
        self.problems = problems


class BulkStartFailed(TreadleError):
    """Some runs of a bulk start were refused; all the others were started.

    Attributes:
        runs: One entry per input, in order: the run, or None where it was refused.
        problems: The refusals by position in the input.
    """

    def __init__(self, runs: Sequence[Run[object] | None], problems: Mapping[int, TreadleError]) -> None:
        first = min(problems)
        super().__init__(
            "", f"{len(problems)} of {len(runs)} runs were refused; the first, number {first}: {problems[first]}"
        )
        self.args: tuple[Any, ...] = (runs, problems)
        self.runs = runs
        self.problems = problems


class NonRetryable(Exception):
    """Raise this in a task to fail its run at once, whatever retries are left."""


class RetryAfter(Exception):
    """Raise this in a task to have it retried after a wait of your choice, if it has retries left.

    Args:
        delay: Time to wait before the next attempt, in place of the task's backoff.
        cause: What went wrong, for the run's history: an exception or a text.
    """

    def __init__(self, delay: timedelta, cause: BaseException | str | None = None) -> None:
        if delay.total_seconds() < 0:
            raise ValueError(f"RetryAfter({delay}) lies in the past")
        super().__init__(delay, cause)
        self.delay = delay
        self.cause = cause

    def __str__(self) -> str:
        seconds = f"try again in {self.delay.total_seconds():g} s"
        if self.cause is None:
            return seconds
        cause = self.cause
        text = f"{type(cause).__name__}: {cause}" if isinstance(cause, BaseException) else cause
        return f"{seconds}: {text}"
