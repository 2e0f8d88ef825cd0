"""Twins of sql/register.sql: workflows, their versions, queues and workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.storage.load import statements
from treadle.storage.rows import only, text_or_none

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

    from treadle.storage.database import Conn

_SQL = statements("register")


class VersionRow(NamedTuple):
    """One version of a workflow; `definition` is JSON text."""

    number: int
    tenant_id: int
    id: str
    workflow_id: str
    content_hash: str
    definition: str


class WorkerRow(NamedTuple):
    """A registered worker; `slots`, `labels` and `runtime` are JSON text."""

    id: str
    tenant_id: int
    name: str
    protocol: int
    actions: list[str]
    slots: str
    labels: str
    runtime: str
    paused: bool
    registered_at: datetime
    last_seen_at: datetime


async def ensure_workflow(conn: Conn, *, tenant_id: int, id: str, name: str, created_at: datetime) -> str:  # noqa: A002 - the column's name
    """The id of the workflow with this name, made if it is new."""
    row = only(await conn.fetchrow(_SQL["ensure_workflow"], tenant_id, id, name, created_at))
    return str(row["id"])


async def newest_version(conn: Conn, *, tenant_id: int, workflow_id: str) -> VersionRow | None:
    """The current version of a workflow."""
    return _version(await conn.fetchrow(_SQL["newest_version"], tenant_id, workflow_id))


async def insert_version(
    conn: Conn,
    *,
    tenant_id: int,
    id: str,  # noqa: A002 - the column's name
    workflow_id: str,
    content_hash: str,
    definition: str,
    created_at: datetime,
) -> VersionRow:
    """Store a new version."""
    return _known_version(
        only(
            await conn.fetchrow(
                _SQL["insert_version"], tenant_id, id, workflow_id, content_hash, definition, created_at
            )
        )
    )


async def current_version(conn: Conn, *, tenant_id: int, name: str) -> VersionRow | None:
    """The current version of the workflow with this name."""
    return _version(await conn.fetchrow(_SQL["current_version"], tenant_id, name))


async def versions(conn: Conn, *, numbers: Sequence[int]) -> list[VersionRow]:
    """Versions by number."""
    rows = await conn.fetch(_SQL["versions"], numbers)
    return [VersionRow(row[0], row[1], str(row[2]), str(row[3]), row[4], row[5]) for row in rows]


async def task_versions(
    conn: Conn, *, tenant_ids: Sequence[int], ids: Sequence[str]
) -> list[tuple[str, int, int, str | None]]:
    """(task id, version number, step, workflow run) of stored task runs."""
    rows = await conn.fetch(_SQL["task_versions"], tenant_ids, ids)
    return [(str(row[0]), row[1], row[2], text_or_none(row[3])) for row in rows]


async def ensure_queues(conn: Conn, *, tenant_id: int, names: Sequence[str]) -> dict[str, int]:
    """Queue ids by action name, made where they are new."""
    wanted = set(names)
    found: dict[str, int] = {}
    # A queue that another engine makes at the same instant is invisible to this statement's snapshot: ask once more.
    while wanted - found.keys():
        rows = await conn.fetch(_SQL["ensure_queues"], tenant_id, sorted(wanted))
        found |= {row["name"]: row["id"] for row in rows}
    return found


async def insert_worker(
    conn: Conn,
    *,
    tenant_id: int,
    id: str,  # noqa: A002 - the column's name
    name: str,
    protocol: int,
    actions: Sequence[str],
    slots: str,
    labels: str,
    runtime: str,
    now: datetime,
) -> None:
    """Store a worker, or renew what it says of itself."""
    await conn.execute(_SQL["insert_worker"], tenant_id, id, name, protocol, actions, slots, labels, runtime, now)


async def find_worker(conn: Conn, *, tenant_id: int, id: str) -> WorkerRow | None:  # noqa: A002 - the column's name
    """A worker that registered earlier."""
    row = await conn.fetchrow(_SQL["find_worker"], tenant_id, id)
    return None if row is None else WorkerRow(str(row[0]), *tuple(row)[1:])


async def set_worker_paused(conn: Conn, *, tenant_id: int, id: str, paused: bool) -> None:  # noqa: A002 - the column's name
    """Pause or resume a worker."""
    await conn.execute(_SQL["set_worker_paused"], tenant_id, id, paused)


async def set_worker_labels(conn: Conn, *, tenant_id: int, id: str, labels: str) -> None:  # noqa: A002 - the column's name
    """Replace a worker's labels."""
    await conn.execute(_SQL["set_worker_labels"], tenant_id, id, labels)


async def touch_workers(
    conn: Conn, *, tenant_ids: Sequence[int], ids: Sequence[str], last_seen_at: Sequence[datetime]
) -> None:
    """Note when workers were last heard of."""
    await conn.execute(_SQL["touch_workers"], tenant_ids, ids, last_seen_at)


def _version(row: asyncpg.Record | None) -> VersionRow | None:
    return None if row is None else _known_version(row)


def _known_version(row: asyncpg.Record) -> VersionRow:
    return VersionRow(row[0], row[1], str(row[2]), str(row[3]), row[4], row[5])
