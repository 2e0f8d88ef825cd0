"""Columns that several statements return in the same order."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg


class TaskColumns(NamedTuple):
    """What the scheduler and a worker need to know of a task run.

    `input` is None when it is too large to keep, and for a task of a workflow run, which has the input of its run.
    """

    version: int
    step: int
    priority: int
    metadata: str | None
    parent_id: str | None
    child_index: int | None
    child_key: str | None
    created_at: datetime
    run_id: str | None
    triggers: str | None
    input: bytes | None


def task_columns(row: asyncpg.Record, first: int) -> TaskColumns:
    """Read the task columns that begin at index `first` of a row; a statement without inputs ends before it."""
    parent = row[first + 4]
    run = row[first + 8]
    return TaskColumns(
        row[first],
        row[first + 1],
        row[first + 2],
        row[first + 3],
        None if parent is None else str(parent),
        row[first + 5],
        row[first + 6],
        row[first + 7],
        None if run is None else str(run),
        row[first + 9],
        row[first + 10] if len(row) > first + 10 else None,
    )


def only(row: asyncpg.Record | None) -> asyncpg.Record:
    """The one row of a statement that always returns one."""
    if row is None:
        msg = "a statement that returns one row returned none"
        raise LookupError(msg)
    return row


def text_or_none(value: object) -> str | None:
    """An id column as text."""
    return None if value is None else str(value)
