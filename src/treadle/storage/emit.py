"""Twins of sql/emit.sql: the event log and the log lines of tasks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from treadle.storage import arrays
from treadle.storage.load import statements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from treadle.storage.database import Conn

_SQL = statements("emit")


class EventGroup(NamedTuple):
    """All tasks of a tenant to which the same happened in one commit; a detail may be missing."""

    tenant_id: int
    kind: int
    task_ids: list[str]
    attempts: list[int]
    details: list[str | None]


async def insert_events(conn: Conn, *, at: datetime, groups: Sequence[EventGroup]) -> None:
    """Append what happened: one row per group."""
    await conn.execute(
        _SQL["insert_events"],
        at,
        [group.tenant_id for group in groups],
        [group.kind for group in groups],
        [arrays.ids(group.task_ids) for group in groups],
        [arrays.numbers(group.attempts) for group in groups],
        [None if arrays.texts(group.details) is None else json.dumps(group.details) for group in groups],
    )


async def insert_logs(
    conn: Conn,
    *,
    tenant_ids: Sequence[int],
    task_ids: Sequence[str],
    attempts: Sequence[int],
    at: Sequence[float],
    levels: Sequence[str],
    messages: Sequence[str],
    metadata: Sequence[str | None],
) -> None:
    """Store log lines; `at` in epoch seconds."""
    await conn.execute(
        _SQL["insert_logs"],
        arrays.numbers(tenant_ids),
        arrays.ids(task_ids),
        arrays.numbers(attempts),
        arrays.times(at),
        levels,
        messages,
        arrays.texts(metadata),
    )
