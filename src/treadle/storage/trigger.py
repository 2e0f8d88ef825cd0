"""Twins of sql/trigger.sql: new task runs and the children that parents have spawned."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from treadle.storage import arrays, copy
from treadle.storage.load import statements
from treadle.storage.rows import only

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from treadle.storage.database import Conn

_SQL = statements("trigger")

# The number of fields, then tenant_id, id, version, step, queue_id and priority.
_fixed = Struct(">hiii16siqihiiih").pack
# parent_id, child_index, child_key, run_id and triggers of a run that stands alone.
_NO_RELATIONS = copy.NULL * 5


class ChildRow(NamedTuple):
    """The child that stands under a parent's key."""

    tenant_id: int
    parent_id: str
    key: str
    child_id: str


class TaskRow(NamedTuple):
    """A new task run, column by column; `created_at` in epoch seconds."""

    tenant_id: int
    id: str
    version: int
    step: int
    queue_id: int
    priority: int
    created_at: float
    input: bytes
    metadata: str | None
    parent_id: str | None
    child_index: int | None
    child_key: str | None
    run_id: str | None
    triggers: str | None


async def insert_tasks(conn: Conn, rows: Iterable[TaskRow]) -> None:
    """Store new task runs, by COPY."""
    stamps = copy.Stamps()
    ids = copy.Ids()
    await copy.send(
        conn,
        "task",
        TaskRow._fields,
        [
            _fixed(14, 4, tenant, 16, copy.uuid_bytes(task), 8, version, 2, step, 4, queue, 2, priority)
            + stamps[created_at]
            + copy.data(payload)
            + copy.text(metadata)
            + (
                _NO_RELATIONS
                if parent is None and run is None
                else ids[parent] + copy.integer(index) + copy.text(key) + ids[run] + copy.text(triggers)
            )
            for (
                tenant,
                task,
                version,
                step,
                queue,
                priority,
                created_at,
                payload,
                metadata,
                parent,
                index,
                key,
                run,
                triggers,
            ) in rows
        ],
    )


async def existing_tasks(conn: Conn, *, tenant_ids: Sequence[int], ids: Sequence[str]) -> set[str]:
    """Which of these task ids are stored."""
    return {
        str(row[0]) for row in await conn.fetch(_SQL["existing_tasks"], arrays.numbers(tenant_ids), arrays.ids(ids))
    }


async def parent_runs(conn: Conn, *, tenant_ids: Sequence[int], ids: Sequence[str]) -> dict[str, str]:
    """Of those of these tasks that are stored, the run that each is part of: its own, or a workflow run."""
    rows = await conn.fetch(_SQL["parent_runs"], arrays.numbers(tenant_ids), arrays.ids(ids))
    return {str(row[0]): str(row[1] or row[0]) for row in rows}


async def claim_children(
    conn: Conn,
    *,
    tenant_ids: Sequence[int],
    parent_ids: Sequence[str],
    keys: Sequence[str],
    child_ids: Sequence[str],
) -> int:
    """Claim (parent, key) for new children; returns how many of the claims are new."""
    row = only(
        await conn.fetchrow(
            _SQL["claim_children"], arrays.numbers(tenant_ids), arrays.ids(parent_ids), keys, arrays.ids(child_ids)
        )
    )
    return int(row["claimed"])


async def existing_children(
    conn: Conn, *, tenant_ids: Sequence[int], parent_ids: Sequence[str], keys: Sequence[str]
) -> list[ChildRow]:
    """The child under each (parent, key) that has one."""
    rows = await conn.fetch(_SQL["existing_children"], arrays.numbers(tenant_ids), arrays.ids(parent_ids), keys)
    return [ChildRow(row[0], str(row[1]), row[2], str(row[3])) for row in rows]
