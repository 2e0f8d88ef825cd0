"""Trigger: new task runs come into being, each with its first attempt ready to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.model.states import EventKind
from treadle.storage import trigger as rows

if TYPE_CHECKING:
    from treadle.engine.attempt import Attempt
    from treadle.engine.batch import Batch
    from treadle.engine.commands import Trigger
    from treadle.storage.database import Conn, Connect


def child_key(task: Attempt) -> str | None:
    """What a child is known by to its parent: the key it was given, else its index; None when it is no child."""
    if task.parent_id is None:
        return None
    if task.child_key:
        return f"k:{task.child_key}"
    return None if task.child_index is None else f"i:{task.child_index}"


async def settle(commands: list[Trigger], batch: Batch, connect: Connect) -> None:
    """Find out which of the runs are new, and let their first attempts be ready.

    A child whose parent has spawned it before (under the same key or index) is answered with the one that exists.

    Args:
        commands: triggers.
        batch: the commit.
        connect: begins its transaction; called only if a table must be asked.
    """
    children = [task for command in commands for task in command.tasks if task.parent_id is not None]
    known = await _claim(children, await connect()) if children else {}
    uncertain = [task for command in commands if command.uncertain for task in command.tasks]
    stored = await _stored(uncertain, await connect()) if uncertain else set()
    for command in commands:
        ids: list[str | BaseException] = []
        for task in command.tasks:
            ids.append(known.get(task.task_id, task.task_id))
            if task.task_id in known or task.task_id in stored:
                continue
            _ready(task, batch)
        batch.after.append(lambda command=command, ids=ids: command.answer(ids))  # type: ignore[misc]  # bound early


def _ready(task: Attempt, batch: Batch) -> None:
    task.created_at = batch.now
    # A commit that was rolled back may have left its marks.
    task.stored = False
    task.gone = False
    task.worker_id = ""
    task.expires_at = batch.now + task.kind.schedule_timeout
    batch.created.append(task)
    if task.kind.plan is None:
        batch.ready.append(task)
    else:
        batch.begun.append(task)
    batch.note(EventKind.CREATED, task.kind.tenant_id, task.task_id, task.attempt)


async def _claim(children: list[Attempt], conn: Conn) -> dict[str, str]:
    """Claim the keys of children; returns, for those that exist already, the id that stands under the key."""
    keyed = [(task, key) for task in children if (key := child_key(task)) is not None]
    if not keyed:
        return {}
    tenant_ids = [task.kind.tenant_id for task, _ in keyed]
    parent_ids = [task.parent_id or "" for task, _ in keyed]
    keys = [key for _, key in keyed]
    claimed = await rows.claim_children(
        conn, tenant_ids=tenant_ids, parent_ids=parent_ids, keys=keys, child_ids=[task.task_id for task, _ in keyed]
    )
    if claimed == len(keyed):
        return {}
    standing = {
        (row.tenant_id, row.parent_id, row.key): row.child_id
        for row in await rows.existing_children(conn, tenant_ids=tenant_ids, parent_ids=parent_ids, keys=keys)
    }
    found = {}
    for task, key in keyed:
        child_id = standing[task.kind.tenant_id, task.parent_id or "", key]
        if child_id != task.task_id:
            found[task.task_id] = child_id
    return found


async def _stored(tasks: list[Attempt], conn: Conn) -> set[str]:
    return await rows.existing_tasks(
        conn, tenant_ids=[task.kind.tenant_id for task in tasks], ids=[task.task_id for task in tasks]
    )


def rows_of(created: list[Attempt], now: float) -> list[rows.TaskRow]:
    """New runs as the table takes them."""
    return [
        rows.TaskRow(
            task.kind.tenant_id,
            task.task_id,
            task.kind.version,
            task.kind.step,
            task.kind.queue_id,
            task.priority,
            now,
            task.input or b"{}",
            task.metadata,
            task.parent_id,
            task.child_index,
            task.child_key,
            task.run_id,
            task.triggers,
        )
        for task in created
    ]


async def write(batch: Batch, conn: Conn) -> None:
    """Store the new runs."""
    await rows.insert_tasks(conn, rows_of(batch.created, batch.now))
