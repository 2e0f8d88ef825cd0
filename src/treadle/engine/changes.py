"""What one commit changes of workflow runs, besides what it changes of any run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.storage import conditions as condition_rows
from treadle.storage import workflow as rows
from treadle.storage.trigger import insert_tasks

if TYPE_CHECKING:
    from datetime import datetime

    from treadle.engine.workflow import WorkflowRun
    from treadle.model.dag import Wait
    from treadle.storage.conditions import ConditionRow
    from treadle.storage.database import Conn
    from treadle.storage.trigger import TaskRow

Key = tuple[int, str]
"""A task: its tenant and its id."""


class Changes:
    """Rows to be written; what comes and goes within the commit is never written at all."""

    def __init__(self) -> None:
        # Tasks that come to be, and what met the conditions of those that come to be again.
        self.steps: list[TaskRow] = []
        self.triggers: dict[Key, str | None] = {}
        # Replayed tasks that are to come to be again (run, attempt), and those that have.
        self.replayed: dict[Key, tuple[str, int]] = {}
        self.returned: list[Key] = []
        # What tasks wait for, what has been met of it, and tasks that wait no more.
        self.registered: dict[Key, dict[int, ConditionRow]] = {}
        self.met: dict[tuple[Key, int], str | None] = {}
        self.settled: list[Key] = []
        # Tasks that have begun to wait, with the places of what they wait for: events are still to be looked at.
        self.fresh: list[tuple[WorkflowRun, Wait]] = []

    @property
    def only_steps(self) -> bool:
        """Whether there is nothing but tasks that come to be."""
        return not (self.triggers or self.replayed or self.returned or self.registered or self.met or self.settled)

    def come_later(self, run: WorkflowRun, step: int, attempt: int) -> None:
        """A task is to come to be again, with this attempt."""
        run.later[step] = attempt
        self.replayed[run.kind.tenant_id, run.task_id(step)] = (run.id, attempt)

    def come_now(self, run: WorkflowRun, step: int) -> int | None:
        """A task comes to be: its attempt when that is not for the first time."""
        attempt = run.later.pop(step, None)
        if attempt is not None:
            key = (run.kind.tenant_id, run.task_id(step))
            if self.replayed.pop(key, None) is None:
                self.returned.append(key)
        return attempt

    def wait_no_more(self, run: WorkflowRun, step: int) -> None:
        """A task waits no more for sleeps or events, if it did."""
        if run.met.pop(step, None) is not None:
            key = (run.kind.tenant_id, run.task_id(step))
            if self.registered.pop(key, None) is None:
                self.settled.append(key)

    def meet(self, run: WorkflowRun, step: int, place: int, data: str | None, at: datetime) -> None:
        """A task that waits on has been given one of the things that it waits for."""
        key = (run.kind.tenant_id, run.task_id(step))
        fresh = self.registered.get(key)
        if fresh is None:
            self.met[key, place] = data
        else:
            fresh[place] = fresh[place]._replace(met_at=at, data=data)

    def next_sleep(self) -> float | None:
        """When the first of the sleeps that have begun is over."""
        return min(
            (
                row.due_at.timestamp()
                for waits in self.registered.values()
                for row in waits.values()
                if row.due_at is not None
            ),
            default=None,
        )

    async def write(self, conn: Conn, now: datetime) -> None:
        """Store it all; what there is none of costs nothing."""
        if self.steps:
            await insert_tasks(conn, self.steps)
        if self.triggers:
            await rows.set_triggers(
                conn,
                tenant_ids=[tenant_id for tenant_id, _ in self.triggers],
                ids=[task_id for _, task_id in self.triggers],
                triggers=list(self.triggers.values()),
            )
        await self._write_replayed(conn)
        await self._write_conditions(conn, now)

    async def _write_replayed(self, conn: Conn) -> None:
        if self.returned:
            await rows.delete_replayed(
                conn,
                tenant_ids=[tenant_id for tenant_id, _ in self.returned],
                task_ids=[task_id for _, task_id in self.returned],
            )
        if self.replayed:
            await rows.insert_replayed(
                conn,
                tenant_ids=[tenant_id for tenant_id, _ in self.replayed],
                task_ids=[task_id for _, task_id in self.replayed],
                run_ids=[run_id for run_id, _ in self.replayed.values()],
                attempts=[attempt for _, attempt in self.replayed.values()],
            )

    async def _write_conditions(self, conn: Conn, now: datetime) -> None:
        if self.met:
            await condition_rows.set_met(
                conn,
                now=now,
                tenant_ids=[tenant_id for (tenant_id, _), _ in self.met],
                task_ids=[task_id for (_, task_id), _ in self.met],
                places=[place for _, place in self.met],
                data=list(self.met.values()),
            )
        # In this order: a task that is replayed while it waits waits anew.
        if self.settled:
            await condition_rows.delete_conditions(
                conn,
                tenant_ids=[tenant_id for tenant_id, _ in self.settled],
                task_ids=[task_id for _, task_id in self.settled],
            )
        if self.registered:
            await condition_rows.insert_conditions(
                conn, [row for waits in self.registered.values() for row in waits.values()]
            )
