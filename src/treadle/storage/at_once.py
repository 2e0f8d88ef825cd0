"""Twin of sql/at_once.sql: a small commit in one round trip, where each of a few statements would cost one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.runtime.clock import moment
from treadle.storage.load import statements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from treadle.storage.assign import AttemptRow
    from treadle.storage.database import Conn
    from treadle.storage.emit import EventGroup
    from treadle.storage.finish import ResultRow
    from treadle.storage.trigger import ChildRow, TaskRow

_SQL = statements("at_once")


async def write_at_once(
    conn: Conn,
    *,
    engine_id: str,
    at: datetime,
    ended: Sequence[tuple[int, str, int]],
    children: Sequence[ChildRow],
    tasks: Sequence[TaskRow],
    results: Sequence[ResultRow],
    attempts: Sequence[AttemptRow],
    events: Sequence[EventGroup],
) -> None:
    """Commit all of it, or nothing.

    Args:
        conn: outside a transaction.
        engine_id: the seat that writes; one that has been superseded is refused, as by `begin_fenced`.
        at: the time of the events.
        ended: (tenant, task, attempt) of running attempts that end; the commit fails unless all of them are current.
        children: those of the new runs that are children; it fails as well if one of their keys is taken.
        tasks: new runs.
        results: how runs ended.
        attempts: attempts that begin to run.
        events: what happened.
    """
    gone = [(task, None, None, None, None, tenant, attempt, None, None, None) for tenant, task, attempt in ended]
    new = [_task(row) for row in tasks]
    over = [_result(row) for row in results]
    begun = [_attempt(row) for row in attempts]
    happened = [_event(group, at) for group in events]
    if children:
        spawned = [(row.parent_id, row.child_id, row.tenant_id, row.key) for row in children]
        await conn.execute(_SQL["write_at_once_with_children"], engine_id, gone, new, over, begun, happened, spawned)
    else:
        await conn.execute(_SQL["write_at_once"], engine_id, gone, new, over, begun, happened)


# The columns of each table, in the order in which the table has them.


def _task(row: TaskRow) -> tuple[object, ...]:
    return (
        row.id,
        row.parent_id,
        row.tenant_id,
        row.queue_id,
        row.version,
        row.child_index,
        row.step,
        row.priority,
        moment(row.created_at),
        row.child_key,
        row.metadata,
        row.input,
        row.run_id,
        row.triggers,
    )


def _result(row: ResultRow) -> tuple[object, ...]:
    return (
        row.id,
        row.worker_id,
        row.tenant_id,
        row.attempt,
        row.status,
        row.retries_used,
        None if row.assigned_at is None else moment(row.assigned_at),
        None if row.started_at is None else moment(row.started_at),
        moment(row.finished_at),
        row.error,
        row.output,
    )


def _attempt(row: AttemptRow) -> tuple[object, ...]:
    return (
        row.task_id,
        row.worker_id,
        moment(row.assigned_at),
        moment(row.timeout_at),
        None,
        row.tenant_id,
        row.attempt,
        row.retries_used,
        row.reassigned,
        False,
    )


def _event(group: EventGroup, at: datetime) -> tuple[object, ...]:
    return (
        None,
        at,
        group.tenant_id,
        group.kind,
        group.task_ids,
        group.attempts,
        None if group.details.count(None) == len(group.details) else group.details,
    )
