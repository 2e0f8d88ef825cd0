"""Conditions: sleeps that are over and events that were pushed meet what tasks of workflow runs wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.engine import cel, look_back
from treadle.engine.moves import Fact
from treadle.engine.scopes import scope_of
from treadle.model.definition import EventCondition
from treadle.model.states import EventKind
from treadle.runtime.clock import moment
from treadle.storage import conditions as rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from treadle.engine.batch import Batch, PushedEvent
    from treadle.engine.catalog import Catalog
    from treadle.engine.workflow import WorkflowRun
    from treadle.model.dag import Wait
    from treadle.storage.database import Conn, Connect

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
            known = cel.event_variables(
                payload=event.payload, metadata=event.metadata, event_id=event.id, event_key=event.key
            )
            found.append((event, known))

    async def meet_waiting(self, catalog: Catalog, connect: Connect) -> list[Fact]:
        """What they are to tasks that have waited since before this commit."""
        if not self._by_key:
            return []
        conn = await connect()
        scoped = dict.fromkeys(
            (event.tenant_id, event.key, event.scope) for event in self._batch.pushed if event.scope is not None
        )
        waiting = await rows.waiting_for(conn, keys=self._by_key, scoped=scoped)
        await catalog.load_versions(conn, {wait.version for wait in waiting})
        facts = []
        for wait in waiting:
            plan = catalog.kind(wait.version, wait.step).plan
            condition = plan.timed(wait.step)[wait.place] if plan is not None else None
            if isinstance(condition, EventCondition):
                data = self.first_match(condition, wait.scope, wait.tenant_id, wait.task_id)
                if data is not None:
                    facts.append(Fact(wait.tenant_id, wait.run_id, wait.step, wait.place, data))
        return facts

    def first_match(self, condition: EventCondition, scope: str | None, tenant_id: int, task_id: str) -> str | None:
        """The payload of the first event that meets a condition."""
        for event, known in self._by_key.get((tenant_id, condition.event_key), ()):
            if scope is not None and scope != event.scope:
                continue
            if holds(condition, known, self._batch, tenant_id, task_id):
                return event.payload.decode()
        return None

    async def meet_fresh(self, fresh: Iterable[tuple[WorkflowRun, Wait]], connect: Connect) -> list[Fact]:
        """What they are to tasks that have begun to wait in this very commit, and what earlier events are to those that
        look back: nothing may fall in between."""
        wishes = [
            Wish(run, wait.step, place, condition, scope_of(run, wait.step, condition))
            for run, wait in fresh
            for place in wait.places
            if isinstance(condition := run.plan.timed(wait.step)[place], EventCondition)
        ]
        if not wishes:
            return []
        backwards = [wish for wish in wishes if wish.condition.consider_since_us is not None]
        facts = await meet_earlier(backwards, self._batch, await connect()) if backwards else []
        met = {(fact.run_id, fact.step, fact.place) for fact in facts}
        for wish in wishes:
            if self._by_key and (wish.run.id, wish.step, wish.place) not in met:
                run = wish.run
                data = self.first_match(wish.condition, wish.scope, run.kind.tenant_id, run.task_id(wish.step))
                if data is not None:
                    facts.append(wish.fact(data))
        return facts


class Wish(NamedTuple):
    """An event that a task begins to wait for."""

    run: WorkflowRun
    step: int
    place: int
    condition: EventCondition
    scope: str | None

    @property
    def since(self) -> float:
        """From when on events count, epoch seconds."""
        at = self.condition.consider_since_us or 0
        return self.run.root.created_at if at < _FIRST_DAY_US else at / 1_000_000

    def fact(self, data: str) -> Fact:
        """It has come, with this payload."""
        return Fact(self.run.kind.tenant_id, self.run.id, self.step, self.place, data)


async def meet_earlier(wishes: Sequence[Wish], batch: Batch, conn: Conn) -> list[Fact]:
    """The earliest stored events that meet these, of those that have one."""
    looks = [
        look_back.Look(
            wish.run.kind.tenant_id,
            wish.condition.event_key,
            wish.scope,
            moment(wish.since),
            wish.condition.expression,
        )
        for wish in wishes
    ]
    facts = []
    for wish, seen in zip(wishes, await look_back.look_back(conn, looks), strict=True):
        if seen.failure is not None:
            note_failure(wish.condition, seen.failure, batch, wish.run.kind.tenant_id, wish.run.task_id(wish.step))
        if not seen.complete:
            problem = f"{look_back.MAX_SEEN} earlier events were looked at, and no more"
            note_failure(wish.condition, problem, batch, wish.run.kind.tenant_id, wish.run.task_id(wish.step))
        if seen.payload is not None:
            facts.append(wish.fact(seen.payload.decode()))
    return facts


def holds(condition: EventCondition, known: cel.Variables, batch: Batch, tenant_id: int, task_id: str) -> bool:
    """Whether the expression of a condition holds for an event; one that fails does not, and it is noted."""
    if not condition.expression:
        return True
    try:
        return cel.evaluate_bool(condition.expression, known)
    except cel.ExpressionFailed as problem:
        note_failure(condition, problem.reason, batch, tenant_id, task_id)
        return False


def note_failure(condition: EventCondition, reason: str, batch: Batch, tenant_id: int, task_id: str) -> None:
    """An expression could not be evaluated."""
    batch.note(EventKind.EXPRESSION_FAILED, tenant_id, task_id, 1, f"{condition.data_key}: {reason}")
