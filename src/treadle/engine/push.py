"""Push: events of users are stored, and may meet what tasks wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.batch import PushedEvent
from treadle.model.ids import new_id_at
from treadle.storage import event as rows

if TYPE_CHECKING:
    from treadle.engine.batch import Batch
    from treadle.engine.commands import Push
    from treadle.storage.database import Conn


async def apply(command: Push, batch: Batch, conn: Conn) -> None:
    """Take events into a commit, each with an id of the commit's time: ids sort in the order of the pushes.

    After a commit with an unknown outcome, those that were stored after all are only answered.
    """
    stored: set[str] = set()
    if command.uncertain and command.ids:
        stored = await rows.existing_events(conn, tenant_id=command.tenant_id, ids=command.ids)
    ids: list[str] = []
    for place, event in enumerate(command.events):
        if stored and command.ids[place] in stored:
            ids.append(command.ids[place])
            continue
        event_id = new_id_at(batch.now)
        ids.append(event_id)
        batch.pushed.append(
            PushedEvent(
                command.tenant_id,
                event_id,
                batch.now,
                event.key,
                event.scope,
                event.priority,
                event.payload,
                event.metadata,
            )
        )
    command.ids = ids
    batch.after.append(lambda: command.answer(list(ids)))


async def write(batch: Batch, conn: Conn) -> None:
    """Store the events of this commit."""
    await rows.insert_events(
        conn,
        [
            rows.EventRow(
                event.id,
                event.tenant_id,
                batch.moment,
                event.key,
                event.scope,
                event.priority,
                event.metadata,
                event.payload,
            )
            for event in batch.pushed
        ],
    )
