"""Assign: ready attempts are given to workers in the commit that found them a slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from treadle.model.errors import Conflict
from treadle.model.states import EventKind
from treadle.storage import assign as rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from treadle.engine.attempt import Attempt
    from treadle.engine.batch import Batch
    from treadle.engine.running import Running
    from treadle.storage.database import Conn


class Decision(Protocol):
    """Who runs what from when on."""

    item: Attempt
    worker_id: str
    at: float


def begin(decisions: Iterable[Decision], running: Running, batch: Batch) -> list[Attempt]:
    """Let attempts run where they were given."""
    chosen = []
    for decision in decisions:
        item = decision.item
        chosen.append(item)
        item.worker_id = decision.worker_id
        item.assigned_at = decision.at
        item.timeout_at = decision.at + item.kind.timeout
        item.holds_slot = True
        running.add(item)
        batch.note(EventKind.ASSIGNED, item.kind.tenant_id, item.task_id, item.attempt, item.worker_id)
    return chosen


async def write(chosen: list[Attempt], batch: Batch, conn: Conn) -> None:
    """Store who runs what, and take it off the queue where it stood there.

    Raises:
        Conflict: an item was no longer queued, so memory is not what the tables say.
    """
    queued = [item for item in chosen if item.stored]
    if queued:
        taken = await rows.delete_queue_items(
            conn,
            tenant_ids=[item.kind.tenant_id for item in queued],
            queue_ids=[item.kind.queue_id for item in queued],
            ranks=[item.rank for item in queued],
            positions=[item.position for item in queued],
        )
        if taken != len(queued):
            raise Conflict("queue", f"{len(queued) - taken} of {len(queued)} items were not in the queue any more")
    await rows.insert_attempts(conn, rows_of(chosen, batch.now))


def rows_of(chosen: list[Attempt], now: float) -> list[rows.AttemptRow]:
    """Attempts that begin to run as the table takes them."""
    return [
        rows.AttemptRow(
            item.kind.tenant_id,
            item.task_id,
            item.attempt,
            item.worker_id,
            item.retries_used,
            item.reassigned,
            now,
            item.timeout_at,
        )
        for item in chosen
    ]
