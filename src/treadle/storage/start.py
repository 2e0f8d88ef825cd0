"""Twin of sql/start.sql: attempts that have begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.storage import arrays
from treadle.storage.load import statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.storage.database import Conn

_SQL = statements("start")


async def mark_started(
    conn: Conn,
    *,
    tenant_ids: Sequence[int],
    task_ids: Sequence[str],
    attempts: Sequence[int],
    started_at: Sequence[float],
) -> None:
    """Note that attempts have begun; `started_at` in epoch seconds."""
    await conn.execute(
        _SQL["mark_started"],
        arrays.numbers(tenant_ids),
        arrays.ids(task_ids),
        arrays.numbers(attempts),
        arrays.times(started_at),
    )
