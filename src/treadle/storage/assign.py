"""Twins of sql/assign.sql: queued attempts become running ones."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from treadle.storage import arrays, copy
from treadle.storage.load import statements
from treadle.storage.rows import only

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from treadle.storage.database import Conn

_SQL = statements("assign")

# The number of fields, then tenant_id, task_id and attempt; retries_used and reassigned.
_fixed = Struct(">hiii16sii").pack
_counts = Struct(">ihih").pack


class AttemptRow(NamedTuple):
    """A new running attempt, column by column; times in epoch seconds."""

    tenant_id: int
    task_id: str
    attempt: int
    worker_id: str
    retries_used: int
    reassigned: int
    assigned_at: float
    timeout_at: float


async def insert_attempts(conn: Conn, rows: Iterable[AttemptRow]) -> None:
    """Give attempts to workers, by COPY."""
    stamps = copy.Stamps()
    ids = copy.Ids()
    await copy.send(
        conn,
        "attempt",
        AttemptRow._fields,
        [
            _fixed(8, 4, tenant, 16, copy.uuid_bytes(task), 4, attempt)
            + ids[worker]
            + _counts(2, retries, 2, reassigned)
            + stamps[assigned_at]
            + stamps[timeout_at]
            for tenant, task, attempt, worker, retries, reassigned, assigned_at, timeout_at in rows
        ],
    )


async def delete_queue_items(
    conn: Conn,
    *,
    tenant_ids: Sequence[int],
    queue_ids: Sequence[int],
    ranks: Sequence[int],
    positions: Sequence[int],
) -> int:
    """Take items out of the queue; returns how many were still there."""
    row = only(
        await conn.fetchrow(
            _SQL["delete_queue_items"],
            arrays.numbers(tenant_ids),
            arrays.numbers(queue_ids),
            arrays.numbers(ranks),
            arrays.numbers(positions),
        )
    )
    return int(row["taken"])


async def load_inputs(conn: Conn, *, tenant_ids: Sequence[int], ids: Sequence[str]) -> dict[str, bytes]:
    """Inputs by the id of the run: that of the task, or of the workflow run that it is part of."""
    rows = await conn.fetch(_SQL["load_inputs"], arrays.numbers(tenant_ids), arrays.ids(ids))
    return {str(row[0]): row[1] for row in rows}
