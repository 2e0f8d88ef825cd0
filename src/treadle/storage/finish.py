"""Twins of sql/finish.sql: attempts end, runs get their results."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from treadle.storage import arrays, copy
from treadle.storage.load import statements
from treadle.storage.rows import only

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from treadle.storage.database import Conn

_SQL = statements("finish")

# The number of fields, then tenant_id, id, attempt, status and retries_used.
_fixed = Struct(">hiii16siiihih").pack


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
    """How a task run ended, column by column; times in epoch seconds."""

    tenant_id: int
    id: str
    attempt: int
    status: int
    retries_used: int
    worker_id: str | None
    assigned_at: float | None
    started_at: float | None
    finished_at: float
    error: str | None
    output: bytes | None


async def insert_results(conn: Conn, rows: Iterable[ResultRow]) -> None:
    """Store how task runs ended, by COPY. A second result for a run is an error, never an overwrite."""
    stamps = copy.Stamps()
    ids = copy.Ids()
    await copy.send(
        conn,
        "task_result",
        ResultRow._fields,
        [
            _fixed(11, 4, tenant, 16, copy.uuid_bytes(task), 4, attempt, 2, status, 2, retries)
            + ids[worker]
            + stamps[assigned_at]
            + stamps[started_at]
            + stamps[finished_at]
            + copy.text(error)
            + copy.data(output)
            for (
                tenant,
                task,
                attempt,
                status,
                retries,
                worker,
                assigned_at,
                started_at,
                finished_at,
                error,
                output,
            ) in rows
        ],
    )
