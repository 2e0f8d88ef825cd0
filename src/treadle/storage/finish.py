"""Twins of sql/finish.sql: attempts end, runs get their results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.storage.load import statements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from treadle.storage.database import Conn

_SQL = statements("finish")


async def delete_attempts(
    conn: Conn, *, tenant_ids: Sequence[int], task_ids: Sequence[str], attempts: Sequence[int]
) -> int:
    """End attempts; returns how many of them were current."""
    row = await conn.fetchrow(_SQL["delete_attempts"], tenant_ids, task_ids, attempts)
    assert row is not None
    return int(row["ended"])


async def insert_results(
    conn: Conn,
    *,
    tenant_ids: Sequence[int],
    ids: Sequence[str],
    attempts: Sequence[int],
    statuses: Sequence[int],
    retries_used: Sequence[int],
    worker_ids: Sequence[str | None],
    assigned_at: Sequence[datetime | None],
    started_at: Sequence[datetime | None],
    errors: Sequence[str | None],
    outputs: Sequence[bytes | None],
    finished_at: datetime,
) -> None:
    """Store how task runs ended."""
    await conn.execute(
        _SQL["insert_results"],
        tenant_ids,
        ids,
        attempts,
        statuses,
        retries_used,
        worker_ids,
        assigned_at,
        started_at,
        errors,
        outputs,
        finished_at,
    )
