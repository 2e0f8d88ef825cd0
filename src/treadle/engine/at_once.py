"""At once: a small commit goes to the database in one message, so that an idle engine is a quick one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine import assign, finish, trigger
from treadle.storage.at_once import SmallCommit, write_at_once, write_at_once_with_children

if TYPE_CHECKING:
    from treadle.engine.attempt import Attempt
    from treadle.engine.batch import Batch
    from treadle.storage.database import Conn

MOST_ROWS = 32
"""Above this many rows, COPY costs less than it takes to begin it."""


def fits(batch: Batch, chosen: list[Attempt], queued: list[Attempt]) -> bool:
    """Whether a commit is small, and does nothing but create, end and assign."""
    if queued or batch.waiting or batch.started or batch.deadlines or batch.slots_released or batch.logs:
        return False
    changes = batch.changes
    if batch.pushed or (changes is not None and not changes.only_steps):
        return False
    if batch.redelivered or any(item.stored or item.input is None for item in chosen):
        return False
    steps = 0 if changes is None else len(changes.steps)
    return (
        steps + len(batch.created) + len(batch.children) + len(batch.ended) + len(batch.results) + len(chosen)
        <= MOST_ROWS
    )


async def write(batch: Batch, chosen: list[Attempt], conn: Conn, *, engine_id: str) -> None:
    """Commit.

    Raises:
        asyncpg.PostgresError: nothing is written; with SQLSTATE `SUPERSEDED` when the engine may not write any more.
    """
    tasks = trigger.rows_of(batch.created, batch.now)
    if batch.changes is not None:
        tasks += batch.changes.steps
    commit = SmallCommit(
        at=batch.moment,
        ended=[(attempt.kind.tenant_id, attempt.task_id, attempt.attempt) for attempt in batch.ended],
        tasks=tasks,
        results=finish.rows_of(batch.results, batch.now),
        attempts=assign.rows_of(chosen, batch.now),
        events=list(batch.events.values()),
    )
    if batch.children:
        await write_at_once_with_children(conn, commit, batch.children, engine_id=engine_id)
    else:
        await write_at_once(conn, commit, engine_id=engine_id)
