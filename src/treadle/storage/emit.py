"""Twins of sql/emit.sql: the event log and the log lines of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    await conn.execute(_SQL["insert_events"], at, tenant_ids, kinds, task_ids, attempts, details)


async def insert_logs(
    conn: Conn,
    *,
    tenant_ids: Sequence[int],
    task_ids: Sequence[str],
    attempts: Sequence[int],
    at: Sequence[datetime],
    levels: Sequence[str],
    messages: Sequence[str],
    metadata: Sequence[str | None],
) -> None:
    """Store log lines."""
    await conn.execute(_SQL["insert_logs"], tenant_ids, task_ids, attempts, at, levels, messages, metadata)
