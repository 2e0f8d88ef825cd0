"""Twins of sql/at_once.sql: a small commit in one round trip, where each of a few statements would cost one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

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

_Rows: TypeAlias = "list[tuple[object, ...]]"


class SmallCommit(NamedTuple):
    """What a small commit changes.

    Attributes:
        at: the time of the events.
        ended: (tenant, task, attempt) of running attempts that end; the commit fails unless all of them are current.
        tasks: new runs.
        results: how runs ended.
        attempts: attempts that begin to run.
        events: what happened.
    """

    at: datetime
    ended: Sequence[tuple[int, str, int]]
    tasks: Sequence[TaskRow]
    results: Sequence[ResultRow]
    attempts: Sequence[AttemptRow]
    events: Sequence[EventGroup]

    def columns(self) -> tuple[_Rows, _Rows, _Rows, _Rows, _Rows]:
        """The rows of each table, with all columns that the table has."""
        return (
            [(task, None, None, None, None, tenant, attempt, None, None, None) for tenant, task, attempt in self.ended],
            [_task(row) for row in self.tasks],
            [_result(row) for row in self.results],
            [_attempt(row) for row in self.attempts],
            [_event(group, self.at) for group in self.events],
        )


async def write_at_once(conn: Conn, commit: SmallCommit, *, engine_id: str) -> None:
    """Commit all of it, or nothing.

    Args:
        conn: outside a transaction.
        commit: what it is.
        engine_id: the seat that writes; one that has been superseded is refused, as by `begin_fenced`.
    """
    ended, tasks, results, attempts, events = commit.columns()
    await conn.execute(_SQL["write_at_once"], engine_id, ended, tasks, results, attempts, events)


async def write_at_once_with_children(
    conn: Conn, commit: SmallCommit, children: Sequence[ChildRow], *, engine_id: str
) -> None:
    """As `write_at_once`, where some of the new runs are children; it fails as well if one of their keys is taken."""
    ended, tasks, results, attempts, events = commit.columns()
    spawned = [(row.parent_id, row.child_id, row.tenant_id, row.key) for row in children]
    await conn.execute(_SQL["write_at_once_with_children"], engine_id, ended, tasks, results, attempts, events, spawned)


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
