"""Read the tables of a database at rest."""

import json

import asyncpg

from tests.chaos.history import Snapshot, StoredEvent, StoredResult, StoredRun
from treadle.model.states import EventKind, RunStatus

IN_PROGRESS = ("queue_item", "attempt", "timer")


async def read_snapshot(connection: asyncpg.Connection) -> Snapshot:
    """All runs, results and events, and what is left in the tables of work in progress."""
    return Snapshot(
        runs=[
            StoredRun(str(row["id"]), int(json.loads(row["input"])["number"]))
            for row in await connection.fetch("SELECT id, input FROM treadle.task")
        ],
        results=[
            StoredResult(
                task_id=str(row["id"]),
                attempt=row["attempt"],
                status=RunStatus(row["status"]),
                retries_used=row["retries_used"],
                output=row["output"] or b"",
                error=row["error"] or "",
            )
            for row in await connection.fetch(
                "SELECT id, attempt, status, retries_used, output, error FROM treadle.task_result"
            )
        ],
        events=[
            StoredEvent(str(row["task_id"]), EventKind(row["kind"]), row["attempt"])
            for row in await connection.fetch(
                "SELECT kind, task_id, attempt FROM treadle.event_log,"
                " LATERAL unnest(task_ids, attempts) AS each (task_id, attempt)"
            )
        ],
        unfinished=await count_unfinished(connection),
    )


async def count_unfinished(connection: asyncpg.Connection) -> dict[str, int]:
    """Rows in the tables of work in progress."""
    return {table: await connection.fetchval(f"SELECT count(*) FROM treadle.{table}") for table in IN_PROGRESS}


async def count_unended(connection: asyncpg.Connection) -> int:
    """Stored runs that have no result yet."""
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM treadle.task t WHERE NOT EXISTS"
            " (SELECT FROM treadle.task_result r WHERE r.tenant_id = t.tenant_id AND r.id = t.id)"
        )
    )
