"""Fail: an attempt has failed; another follows at once or after a backoff, or the run ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.batch import Waiting
from treadle.engine.finish import end_running, leave
from treadle.model.retry import backoff_ms
from treadle.model.states import EventKind, RunStatus
from treadle.storage import retry as rows

if TYPE_CHECKING:
    from treadle.engine.attempt import Attempt
    from treadle.engine.batch import Batch
    from treadle.engine.running import Running
    from treadle.storage.database import Conn

MAX_REASSIGNED = 10
"""How often an attempt may be lost with its worker before the run fails: something about it kills workers."""


def fail(
    attempt: Attempt,
    error: str,
    running: Running,
    batch: Batch,
    *,
    should_not_retry: bool = False,
    retry_after: float | None = None,
    stopped: bool = False,
) -> None:
    """An attempt has failed by the user's code or its time limit: retry while retries are left.

    Args:
        attempt: the current attempt.
        error: what happened, as the worker tells it.
        running: the running attempts.
        batch: the commit.
        should_not_retry: the task said that trying again is useless.
        retry_after: seconds to wait, instead of the backoff.
        stopped: the worker's code still runs and is being stopped.
    """
    leave(attempt, running, batch, stopped=stopped)
    definition = attempt.kind.definition
    if should_not_retry or attempt.retries_used >= definition.retries:
        end_running(attempt, RunStatus.FAILED, batch, error=error)
        return
    retry = attempt.retries_used + 1
    if retry_after is None:
        delay = (
            backoff_ms(factor=definition.backoff_factor, max_seconds=definition.backoff_max_seconds, retry=retry) / 1000
        )
    else:
        delay = max(retry_after, 0.0)
    batch.note(EventKind.RETRYING, attempt.kind.tenant_id, attempt.task_id, attempt.attempt, error)
    following = attempt.again(retries_used=retry, reassigned=attempt.reassigned)
    if delay > 0:
        batch.waiting.append(Waiting(following, batch.now + delay))
    else:
        make_ready(following, batch)


def lose(attempt: Attempt, running: Running, batch: Batch, *, handed_back: bool) -> None:
    """An attempt cannot go on where it was: run it elsewhere, the user's retries untouched.

    Args:
        attempt: the current attempt.
        running: the running attempts.
        batch: the commit.
        handed_back: its worker gave it back on purpose, so it does not count as a loss.
    """
    leave(attempt, running, batch)
    if not handed_back and attempt.reassigned >= MAX_REASSIGNED:
        end_running(
            attempt,
            RunStatus.FAILED,
            batch,
            error=f"Task reached its maximum reassignment count: lost with its worker {MAX_REASSIGNED + 1} times",
        )
        return
    kind = EventKind.HANDED_BACK if handed_back else EventKind.REASSIGNED
    batch.note(kind, attempt.kind.tenant_id, attempt.task_id, attempt.attempt, attempt.worker_id)
    following = attempt.again(
        retries_used=attempt.retries_used, reassigned=attempt.reassigned + (0 if handed_back else 1)
    )
    make_ready(following, batch)


def make_ready(attempt: Attempt, batch: Batch) -> None:
    """Let an attempt wait for a slot, with a fresh schedule timeout."""
    attempt.expires_at = batch.now + attempt.kind.schedule_timeout
    batch.ready.append(attempt)


async def write_waiting(waiting: list[Waiting], conn: Conn) -> None:
    """Store the attempts that wait for their backoff."""
    await rows.insert_timers(
        conn,
        tenant_ids=[entry.attempt.kind.tenant_id for entry in waiting],
        task_ids=[entry.attempt.task_id for entry in waiting],
        attempts=[entry.attempt.attempt for entry in waiting],
        retries_used=[entry.attempt.retries_used for entry in waiting],
        reassigned=[entry.attempt.reassigned for entry in waiting],
        due_at=[entry.due_at for entry in waiting],
    )
