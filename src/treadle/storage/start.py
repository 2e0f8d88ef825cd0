"""Twin of sql/start.sql: attempts that have begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.storage.load import statements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from treadle.storage.database import Conn

_SQL = statements("start")


async def mark_started(
    conn: Conn,
    *,
    tenant_ids: Sequence[int],
    task_ids: Sequence[str],
    attempts: Sequence[int],
    started_at: Sequence[datetime],
) -> None:
    """Note that attempts have begun."""
    await conn.execute(_SQL["mark_started"], tenant_ids, task_ids, attempts, started_at)
