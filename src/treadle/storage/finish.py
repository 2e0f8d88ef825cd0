"""Twins of sql/finish.sql: attempts end, runs get their results."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.storage import arrays
from treadle.storage.load import statements
from treadle.storage.rows import only

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
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


class ResultRow(NamedTuple):
    """How a task run ended, column by column."""

    tenant_id: int
    id: str
    attempt: int
    status: int
    retries_used: int
    worker_id: str | None
    assigned_at: datetime | None
    started_at: datetime | None
    finished_at: datetime
    error: str | None
    output: bytes | None


async def insert_results(conn: Conn, rows: Iterable[ResultRow]) -> None:
    """Store how task runs ended, by COPY. A second result for a run is an error, never an overwrite."""
    await conn.copy_records_to_table("task_result", schema_name="treadle", columns=ResultRow._fields, records=rows)
