"""Twin of sql/replay.sql: ended runs that run again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.storage.load import statements
from treadle.storage.rows import TaskColumns, task_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.storage.database import Conn

_SQL = statements("replay")


class EndedRun(NamedTuple):
    """A run whose result was taken away; `attempt` is the one that had ended it."""

    task_id: str
    attempt: int
    task: TaskColumns


async def take_results(conn: Conn, *, ids: Sequence[str], tenant_id: int, input_limit: int) -> list[EndedRun]:
    """Take the results of ended runs."""
    rows = await conn.fetch(_SQL["take_results"], ids, tenant_id, input_limit)
    return [EndedRun(str(row[0]), row[1], task_columns(row, 2)) for row in rows]
