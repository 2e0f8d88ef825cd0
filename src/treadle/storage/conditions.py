"""Twins of sql/conditions.sql: the sleeps and events that tasks of workflow runs wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.storage import arrays
from treadle.storage.load import statements

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from treadle.storage.database import Conn

_SQL = statements("conditions")


class ConditionRow(NamedTuple):
    """A sleep (`due_at`) or an event (`event_key`) that a task waits for, column by column."""

    tenant_id: int
    task_id: str
    run_id: str
    step: int
    place: int
    due_at: datetime | None
    event_key: str | None
    scope: str | None
    met_at: datetime | None = None
    data: str | None = None


class StoredCondition(NamedTuple):
    """What the task at `task_place` among those asked for waits for, and what has met it."""

    task_place: int
    place: int
    met: bool
    data: str | None


class DueSleep(NamedTuple):
    """A sleep that is over."""

    tenant_id: int
    run_id: str
    step: int
    place: int


class EventWait(NamedTuple):
    """A condition that waits for an event."""

    tenant_id: int
    run_id: str
    task_id: str
    step: int
    place: int
    event_key: str
    scope: str | None
    version: int


async def insert_conditions(conn: Conn, rows: Iterable[ConditionRow]) -> None:
    """Register what tasks wait for, by COPY."""
    await conn.copy_records_to_table("condition", schema_name="treadle", columns=ConditionRow._fields, records=rows)


async def load_conditions(conn: Conn, *, tenant_ids: Sequence[int], ids: Sequence[str]) -> list[StoredCondition]:
    """What these tasks wait for."""
    rows = await conn.fetch(_SQL["load_conditions"], arrays.numbers(tenant_ids), arrays.ids(ids))
    return [StoredCondition(row[0] - 1, row[1], row[2], row[3]) for row in rows]


async def take_due_sleeps(conn: Conn, *, now: datetime, limit: int, tenant_ids: Sequence[int]) -> list[DueSleep]:
    """Sleeps that are over, earliest first; they are noted as met."""
    rows = await conn.fetch(_SQL["take_due_sleeps"], now, limit, tenant_ids)
    return [DueSleep(row[0], str(row[1]), row[2], row[3]) for row in rows]


async def next_sleep(conn: Conn, *, tenant_ids: Sequence[int]) -> datetime | None:
    """When the earliest sleep is over."""
    row = await conn.fetchrow(_SQL["next_sleep"], tenant_ids)
    return row["due_at"] if row is not None else None


async def waiting_for(
    conn: Conn, *, keys: Collection[tuple[int, str]], scoped: Collection[tuple[int, str, str]]
) -> list[EventWait]:
    """Conditions that wait for events, given as (tenant, key) and, of those with a scope, (tenant, key, scope)."""
    rows = await conn.fetch(
        _SQL["waiting_for"],
        arrays.numbers(tenant_id for tenant_id, _ in keys),
        [key for _, key in keys],
        arrays.numbers(tenant_id for tenant_id, _, _ in scoped),
        [key for _, key, _ in scoped],
        [scope for _, _, scope in scoped],
    )
    return [EventWait(row[0], str(row[1]), str(row[2]), row[3], row[4], row[5], row[6], row[7]) for row in rows]


async def set_met(
    conn: Conn,
    *,
    now: datetime,
    tenant_ids: Sequence[int],
    task_ids: Sequence[str],
    places: Sequence[int],
    data: Sequence[str | None],
) -> None:
    """Note what has been met, of tasks that wait for more."""
    await conn.execute(
        _SQL["set_met"],
        now,
        arrays.numbers(tenant_ids),
        arrays.ids(task_ids),
        arrays.numbers(places),
        arrays.texts(data),
    )


async def delete_conditions(conn: Conn, *, tenant_ids: Sequence[int], task_ids: Sequence[str]) -> None:
    """These tasks wait no more."""
    await conn.execute(_SQL["delete_conditions"], arrays.numbers(tenant_ids), arrays.ids(task_ids))
