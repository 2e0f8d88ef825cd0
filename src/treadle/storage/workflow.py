"""Twins of sql/workflow.sql: workflow runs of several tasks, and where each of their tasks is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.storage import arrays
from treadle.storage.load import statements
from treadle.storage.rows import TaskColumns, task_columns, text_or_none

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.storage.database import Conn

_SQL = statements("workflow")


class RunColumns(NamedTuple):
    """A workflow run, and how it has ended."""

    tenant_id: int
    id: str
    status: int | None
    task: TaskColumns


class StepColumns(NamedTuple):
    """A task that has come to be, by its place among those asked for.

    `replayed_as` is the next attempt of one that was replayed and waits to come to be again; `output` is None also when
    it was too large.
    """

    place: int
    status: int | None
    replayed_as: int | None
    output: bytes | None


class Member(NamedTuple):
    """A workflow run (`run_id` None) or a task of one."""

    id: str
    run_id: str | None
    step: int


async def load_runs(conn: Conn, *, tenant_ids: Sequence[int], ids: Sequence[str], input_limit: int) -> list[RunColumns]:
    """Those of these ids that are workflow runs."""
    rows = await conn.fetch(_SQL["load_runs"], arrays.numbers(tenant_ids), arrays.ids(ids), input_limit)
    return [RunColumns(row[0], str(row[1]), row[2], task_columns(row, 3)) for row in rows]


async def load_steps(
    conn: Conn, *, tenant_ids: Sequence[int], ids: Sequence[str], whole: Sequence[bool], output_limit: int
) -> list[StepColumns]:
    """Those of these tasks that have come to be, with outputs up to a size; of any size where `whole`."""
    rows = await conn.fetch(_SQL["load_steps"], arrays.numbers(tenant_ids), arrays.ids(ids), whole, output_limit)
    return [StepColumns(row[0] - 1, row[1], row[2], row[3]) for row in rows]


async def load_outputs(
    conn: Conn, *, tenant_ids: Sequence[int], ids: Sequence[str]
) -> list[tuple[int, int, bytes | None]]:
    """(place among those asked for, status, output) of the tasks that have ended."""
    rows = await conn.fetch(_SQL["load_outputs"], arrays.numbers(tenant_ids), arrays.ids(ids))
    return [(row[0] - 1, row[1], row[2]) for row in rows]


async def load_errors(conn: Conn, *, tenant_ids: Sequence[int], ids: Sequence[str]) -> list[tuple[int, str]]:
    """(place among those asked for, error) of the tasks that have failed."""
    rows = await conn.fetch(_SQL["load_errors"], arrays.numbers(tenant_ids), arrays.ids(ids))
    return [(row[0] - 1, row[1] or "") for row in rows]


async def find_members(conn: Conn, *, tenant_id: int, ids: Sequence[str]) -> list[Member]:
    """Those of these ids that are workflow runs, or tasks of one that have come to be or wait for their conditions."""
    rows = await conn.fetch(_SQL["find_members"], tenant_id, arrays.ids(ids))
    return [Member(str(row[0]), text_or_none(row[1]), row[2]) for row in rows]


async def take_step_results(conn: Conn, *, tenant_id: int, ids: Sequence[str]) -> dict[str, int]:
    """Take results away; returns the attempts that had ended the tasks, by id."""
    rows = await conn.fetch(_SQL["take_step_results"], tenant_id, arrays.ids(ids))
    return {str(row[0]): row[1] for row in rows}


async def set_triggers(
    conn: Conn, *, tenant_ids: Sequence[int], ids: Sequence[str], triggers: Sequence[str | None]
) -> None:
    """Note what has met the conditions of tasks that run again."""
    await conn.execute(_SQL["set_triggers"], arrays.numbers(tenant_ids), arrays.ids(ids), arrays.texts(triggers))


async def insert_replayed(
    conn: Conn, *, tenant_ids: Sequence[int], task_ids: Sequence[str], run_ids: Sequence[str], attempts: Sequence[int]
) -> None:
    """Note the next attempts of tasks that were replayed and wait to come to be again."""
    await conn.execute(
        _SQL["insert_replayed"],
        arrays.numbers(tenant_ids),
        arrays.ids(task_ids),
        arrays.ids(run_ids),
        arrays.numbers(attempts),
    )


async def delete_replayed(conn: Conn, *, tenant_ids: Sequence[int], task_ids: Sequence[str]) -> None:
    """Forget the next attempts of tasks that have come to be again."""
    await conn.execute(_SQL["delete_replayed"], arrays.numbers(tenant_ids), arrays.ids(task_ids))


async def children(conn: Conn, *, tenant_id: int, ids: Sequence[str]) -> list[str]:
    """What these tasks have spawned."""
    return [str(row[0]) for row in await conn.fetch(_SQL["children"], tenant_id, arrays.ids(ids))]
