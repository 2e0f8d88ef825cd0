"""Twins of sql/trigger.sql: new task runs and the children that parents have spawned."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.storage import arrays
from treadle.storage.load import statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from treadle.storage.database import Conn

_SQL = statements("trigger")


class ChildRow(NamedTuple):
    """The child that stands under a parent's key."""

    tenant_id: int
    parent_id: str
    key: str
    child_id: str


class TaskRow(NamedTuple):
    """A new task run, column by column."""

    tenant_id: int
    id: str
    version: int
    step: int
    queue_id: int
    priority: int
    input: bytes
    metadata: str | None
    parent_id: str | None
    child_index: int | None
    child_key: str | None
    created_at: datetime


async def insert_tasks(conn: Conn, rows: Iterable[TaskRow]) -> None:
    """Store new task runs, by COPY."""
    await conn.copy_records_to_table("task", schema_name="treadle", columns=TaskRow._fields, records=rows)


async def existing_tasks(conn: Conn, *, tenant_ids: Sequence[int], ids: Sequence[str]) -> set[str]:
    """Which of these task ids are stored."""
    return {
        str(row[0]) for row in await conn.fetch(_SQL["existing_tasks"], arrays.numbers(tenant_ids), arrays.ids(ids))
    }


async def claim_children(
    conn: Conn,
    *,
    tenant_ids: Sequence[int],
    parent_ids: Sequence[str],
    keys: Sequence[str],
    child_ids: Sequence[str],
) -> set[str]:
    """Claim (parent, key) for new children; returns the ids of those whose claim is new."""
    rows = await conn.fetch(
        _SQL["claim_children"], arrays.numbers(tenant_ids), arrays.ids(parent_ids), keys, arrays.ids(child_ids)
    )
    return {str(row[0]) for row in rows}


async def existing_children(
    conn: Conn, *, tenant_ids: Sequence[int], parent_ids: Sequence[str], keys: Sequence[str]
) -> list[ChildRow]:
    """The child under each (parent, key) that has one."""
    rows = await conn.fetch(_SQL["existing_children"], arrays.numbers(tenant_ids), arrays.ids(parent_ids), keys)
    return [ChildRow(row[0], str(row[1]), row[2], str(row[3])) for row in rows]
