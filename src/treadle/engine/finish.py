"""Finish: what completing, failing for good, cancelling and expiring have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.catalog import RUN_STEP
from treadle.engine.ports import Ended
from treadle.model.errors import Conflict
from treadle.model.states import EventKind, RunStatus
from treadle.storage import finish as rows

if TYPE_CHECKING:
    from treadle.engine.attempt import Attempt
    from treadle.engine.batch import Batch
    from treadle.engine.catalog import TaskKind
    from treadle.engine.running import Running
    from treadle.storage.database import Conn

EVENTS = {
    RunStatus.COMPLETED: EventKind.COMPLETED,
    RunStatus.FAILED: EventKind.FAILED,
    RunStatus.CANCELLED: EventKind.CANCELLED,
    RunStatus.SKIPPED: EventKind.SKIPPED,
}


def leave(attempt: Attempt, running: Running, batch: Batch, *, stopped: bool = False) -> None:
    """A running attempt runs no more, whatever comes next for its task.

    Args:
        attempt: a current attempt.
        running: the running attempts.
        batch: the commit.
        stopped: the worker's code still runs and is being stopped, so its slot may be taken for a while yet.
    """
    running.remove(attempt)
    batch.ended.append(attempt)
    if attempt.holds_slot and not (stopped and running.linger(attempt)):
        attempt.holds_slot = False
        batch.freed.append((attempt.worker_id, attempt.kind.slots))


def end_running(
    attempt: Attempt, status: RunStatus, batch: Batch, *, output: bytes | None = None, error: str | None = None
) -> None:
    """The run of an attempt that was running ends with this status."""
    _end(
        Ended(
            attempt.kind,
            attempt.task_id,
            attempt.attempt,
            status,
            attempt.retries_used,
            attempt.worker_id,
            attempt.assigned_at,
            attempt.started_at,
            error,
            output,
            attempt.run_id,
        ),
        batch,
    )


def end_waiting(
    kind: TaskKind,
    task_id: str,
    attempt: int,
    status: RunStatus,
    batch: Batch,
    *,
    retries_used: int,
    error: str | None = None,
    run_id: str | None = None,
) -> None:
    """The run of an attempt that waited for its turn ends with this status."""
    _end(Ended(kind, task_id, attempt, status, retries_used, None, None, None, error, None, run_id), batch)


def _end(ended: Ended, batch: Batch) -> None:
    if ended.run_id is not None:
        batch.steps_ended.append(ended)
    note_end(ended, batch)


def note_end(ended: Ended, batch: Batch, detail: str | None = None) -> None:
    """Note the end of a run, or of a task whose workflow run has moved on by it already."""
    batch.results.append(ended)
    event = EVENTS[ended.status]
    batch.note(event, ended.kind.tenant_id, ended.task_id, ended.attempt, detail)
    # Of a workflow run its tasks are shown; its own end is told to those who wait for it.
    if ended.kind.step != RUN_STEP and batch.followed_at_all(ended.task_id, ended.run_id):
        payload = ended.error if ended.error is not None else (ended.output or b"").decode()
        batch.show(event, ended.attempt, ended.kind, ended.task_id, payload, ended.run_id)


async def write_ended(attempts: list[Attempt], conn: Conn) -> None:
    """Take ended attempts out of the table of running ones.

    Raises:
        Conflict: one of them was not current, so memory is not what the tables say.
    """
    ended = await rows.delete_attempts(
        conn,
        tenant_ids=[attempt.kind.tenant_id for attempt in attempts],
        task_ids=[attempt.task_id for attempt in attempts],
        attempts=[attempt.attempt for attempt in attempts],
    )
    if ended != len(attempts):
        raise Conflict("attempt", f"{len(attempts) - ended} of {len(attempts)} attempts were not current any more")


def rows_of(results: list[Ended], now: float) -> list[rows.ResultRow]:
    """Ends of runs as the table takes them."""
    return [
        rows.ResultRow(
            result.kind.tenant_id,
            result.task_id,
            result.attempt,
            result.status,
            result.retries_used,
            result.worker_id,
            result.assigned_at,
            result.started_at,
            now,
            result.error,
            result.output,
        )
        for result in results
    ]


async def write_results(batch: Batch, conn: Conn) -> None:
    """Store how runs ended."""
    await rows.insert_results(conn, rows_of(batch.results, batch.now))
