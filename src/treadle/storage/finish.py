"""Twins of sql/finish.sql: attempts end, runs get their results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.storage import arrays
from treadle.storage.load import statements
from treadle.storage.rows import only

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from treadle.storage.database import Conn

_SQL = statements("finish")


async def delete_attempts(
    conn: Conn, *, tenant_ids: Sequence[int], task_ids: Sequence[str], attempts: Sequence[int]
) -> int:
    """End attempts; returns how many of them were current."""
    row = only(
        await conn.fetchrow(
            _SQL["delete_attempts"], arrays.numbers(tenant_ids), arrays.ids(task_ids), arrays.numbers(attempts)
        )
    )
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
    assigned_at: Sequence[float | None],
    started_at: Sequence[float | None],
    errors: Sequence[str | None],
    outputs: Sequence[bytes | None],
    finished_at: datetime,
) -> None:
    """Store how task runs ended; `assigned_at` and `started_at` in epoch seconds."""
    packed = arrays.blob(outputs)
    await conn.execute(
        _SQL["insert_results"],
        arrays.numbers(tenant_ids),
        arrays.ids(ids),
        arrays.numbers(attempts),
        arrays.numbers(statuses),
        arrays.numbers(retries_used),
        arrays.ids_or_null(worker_ids),
        arrays.times(assigned_at),
        arrays.times(started_at),
        arrays.texts(errors),
        packed.data,
        packed.starts,
        packed.lengths,
        finished_at,
    )
