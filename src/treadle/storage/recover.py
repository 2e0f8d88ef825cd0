"""Twin of sql/recover.sql: what an engine loads when it takes the scheduler's seat."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.storage.load import statements
from treadle.storage.rows import TaskColumns, task_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from treadle.storage.database import Conn

_SQL = statements("recover")


class RunningRow(NamedTuple):
    """A running attempt as stored."""

    tenant_id: int
    task_id: str
    attempt: int
    worker_id: str
    retries_used: int
    reassigned: int
    assigned_at: datetime
    timeout_at: datetime
    started_at: datetime | None
    slot_released: bool
    task: TaskColumns


async def running_attempts(conn: Conn, *, tenant_ids: Sequence[int]) -> list[RunningRow]:
    """Every running attempt of these tenants."""
    rows = await conn.fetch(_SQL["running_attempts"], tenant_ids)
    return [
        RunningRow(
            row[0],
            str(row[1]),
            row[2],
            str(row[3]),
            row[4],
            row[5],
            row[6],
            row[7],
            row[8],
            row[9],
            task_columns(row, 10),
        )
        for row in rows
    ]
