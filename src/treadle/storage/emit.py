"""Twins of sql/emit.sql: the event log and the log lines of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.storage import arrays
from treadle.storage.load import statements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from treadle.storage.database import Conn

_SQL = statements("emit")


async def insert_events(
    conn: Conn,
    *,
    at: datetime,
    tenant_ids: Sequence[int],
    kinds: Sequence[int],
    task_ids: Sequence[str],
    attempts: Sequence[int],
    details: Sequence[str | None],
) -> None:
    """Append what happened: one element per task and kind, stored as one row per tenant and kind."""
    await conn.execute(
        _SQL["insert_events"],
        at,
        arrays.numbers(tenant_ids),
        arrays.numbers(kinds),
        arrays.ids(task_ids),
        arrays.numbers(attempts),
        arrays.texts(details),
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
