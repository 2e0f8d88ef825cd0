"""Conditions: sleeps that are over and events that were pushed meet what tasks of workflow runs wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine import cel
from treadle.engine.moves import Fact
from treadle.model.definition import EventCondition
from treadle.model.states import EventKind
from treadle.storage import conditions as rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from treadle.engine.batch import Batch, PushedEvent
    from treadle.engine.catalog import Catalog
    from treadle.engine.workflow import WorkflowRun
    from treadle.model.dag import Wait
    from treadle.storage.database import Conn

CHUNK = 1000
"""Most sleeps that end in one commit; the rest follow in the next."""

_FIRST_DAY_US = 86_400_000_000
"""A `consider_since` on the first day of 1970 means the beginning of the run."""


async def sleeps_over(batch: Batch, conn: Conn, tenant_ids: Sequence[int]) -> list[Fact]:
    """Sleeps that are over."""
    due = await rows.take_due_sleeps(conn, now=batch.moment, limit=CHUNK, tenant_ids=tenant_ids)
    return [Fact(sleep.tenant_id, sleep.run_id, sleep.step, sleep.place, None, stored=True) for sleep in due]


class Pushed:
    """The events of one commit, by what they can meet.

    Args:
        batch: the commit.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._by_key: dict[tuple[int, str], list[tuple[PushedEvent, cel.Variables]]] = {}
        for event in batch.pushed:
            found = self._by_key.setdefault((event.tenant_id, event.key), [])
            found.append((event, variables(event.id, event.key, event.payload, event.metadata)))

    async def meet_waiting(self, catalog: Catalog, conn: Conn) -> list[Fact]:
        """What they are to tasks that have waited since before this commit."""
        if not self._by_key:
            return []
        waiting = await rows.waiting_for(
            conn,
            tenant_ids=[tenant_id for tenant_id, _ in self._by_key],
            keys=[key for _, key in self._by_key],
        )
        await catalog.load_versions(conn, {wait.version for wait in waiting})
        facts = []
        for wait in waiting:
            plan = catalog.kind(wait.version, wait.step).plan
            condition = plan.timed(wait.step)[wait.place] if plan is not None else None
            if isinstance(condition, EventCondition):
                data = self.first_match(condition, wait.tenant_id, wait.task_id)
                if data is not None:
                    facts.append(Fact(wait.tenant_id, wait.run_id, wait.step, wait.place, data))
        return facts

    def first_match(self, condition: EventCondition, tenant_id: int, task_id: str) -> str | None:
        """The payload of the first event that meets a condition."""
        for event, known in self._by_key.get((tenant_id, condition.event_key), ()):
            if condition.scope is not None and condition.scope != event.scope:
                continue
            if holds(condition, known, self._batch, tenant_id, task_id):
                return event.payload.decode()
        return None

    def meet_fresh(self, fresh: Iterable[tuple[WorkflowRun, Wait]]) -> list[Fact]:
        """What they are to tasks that have begun to wait in this very commit: nothing may fall in between."""
        if not self._by_key:
            return []
        facts = []
        for run, wait in fresh:
            tenant_id = run.kind.tenant_id
            for place in wait.places:
                condition = run.plan.timed(wait.step)[place]
                if isinstance(condition, EventCondition):
                    data = self.first_match(condition, tenant_id, run.task_id(wait.step))
                    if data is not None:
                        facts.append(Fact(tenant_id, run.id, wait.step, place, data))
        return facts


def variables(event_id: str, key: str, payload: bytes, metadata: str | None) -> cel.Variables:
    """What an expression about an event may name."""
    data = cel.Json(payload)
    return cel.Variables(
        {
            "input": data,
            "payload": data,
            "additional_metadata": cel.Json(metadata),
            "event_id": event_id,
            "event_key": key,
        }
    )


def holds(condition: EventCondition, known: cel.Variables, batch: Batch, tenant_id: int, task_id: str) -> bool:
    """Whether the expression of a condition holds for an event; one that fails does not, and it is noted."""
    if not condition.expression:
        return True
    try:
        return cel.evaluate_bool(condition.expression, known)
    except cel.ExpressionFailed as problem:
        detail = f"{condition.data_key}: {problem}"
        batch.note(EventKind.EXPRESSION_FAILED, tenant_id, task_id, 1, detail)
        return False
