"""Replay: runs that have ended run again, under their own ids and with the next attempt number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.attempt import attempt_from_columns
from treadle.engine.enqueue import INPUT_KEPT
from treadle.engine.fail import make_ready
from treadle.model.states import EventKind
from treadle.storage import replay as rows

if TYPE_CHECKING:
    from treadle.engine.batch import Batch
    from treadle.engine.catalog import Catalog
    from treadle.storage.database import Conn


async def replay(tenant_id: int, task_ids: list[str], *, catalog: Catalog, batch: Batch, conn: Conn) -> list[str]:
    """Take the results of these runs away and queue a new attempt of each, its retries fresh.

    Returns:
        the runs that will run again; those that have not ended, or are not the tenant's, are left alone.
    """
    ended = await rows.take_results(
        conn, ids=list(dict.fromkeys(task_ids)), tenant_id=tenant_id, input_limit=INPUT_KEPT
    )
    await catalog.load_versions(conn, (run.task.version for run in ended))
    for run in ended:
        attempt = attempt_from_columns(
            catalog.kind(run.task.version, run.task.step),
            task_id=run.task_id,
            attempt=run.attempt + 1,
            columns=run.task,
        )
        make_ready(attempt, batch)
        batch.note(EventKind.REPLAYED, tenant_id, run.task_id, attempt.attempt)
    return [run.task_id for run in ended]
