"""What is meant to happen: random workflows as an engine runs them, and the events that are pushed for them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from tests.model.dag_generator import NEVER_MS, SKIPPED_OUTPUT, Fate, random_fates, random_workflow
from treadle.engine.workflow import PAYLOAD_KEPT
from treadle.model.definition import EventCondition, SleepCondition, TaskDefinition, WorkflowDefinition
from treadle.model.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

ACTIONS = tuple(f"crowd:{number}" for number in range(4))
"""All tasks share these, so that any worker can have any of them."""

_DAY_MS = 86_400_000
_RUN_BEGAN = 1
_OF_THE_RUN = "${input.number}"


class Told(NamedTuple):
    """An event that was pushed; `at` in epoch seconds. `ok` is what expressions ask its payload for."""

    key: str
    scope: str | None
    ok: bool
    at: float = 0.0

    @property
    def payload(self) -> bytes:
        """As it is pushed."""
        return json.dumps({"ok": self.ok, "key": self.key}).encode()


class Tale:
    """A workflow, and what is known of it beforehand. Several runs may be of the same one.

    Attributes:
        workflow: The workflow.
        plan: The numbers of its tasks, and of their sleeps and events.
        never: The share of events that never come.
    """

    def __init__(self, rng: Random, name: str, max_tasks: int) -> None:
        while True:
            plain = random_workflow(rng, name=name, max_tasks=max_tasks, never=rng.choice((0.0, 0.0, 0.3)))
            if len(plain.tasks) > 1 or plain.on_failure is not None or plain.tasks[0].conditions is not None:
                break  # anything else is a run of one task
        handler = plain.on_failure
        self.workflow: WorkflowDefinition = replace(
            plain,
            tasks=tuple(_varied(rng, task) for task in plain.tasks),
            on_failure=None if handler is None else _varied(rng, handler),
        )
        self.plan = Plan(self.workflow)
        self.never = rng.choice((0.0, 0.1, 0.3))

    @property
    def name(self) -> str:
        """The workflow's."""
        return self.workflow.name

    def fates(self, rng: Random) -> dict[str, Fate]:
        """What is to become of its tasks, this time."""
        return random_fates(rng, self.workflow, never=self.never)


def _varied(rng: Random, task: TaskDefinition) -> TaskDefinition:
    """A task with settings that have no part in the rules, and that any worker can have."""
    conditions = task.conditions
    if conditions is not None:
        conditions = replace(conditions, events=tuple(_varied_event(rng, event) for event in conditions.events))
    return replace(
        task,
        action=rng.choice(ACTIONS),
        timeout_ms=_DAY_MS,
        schedule_timeout_ms=_DAY_MS,
        retries=rng.choice((0, 0, 0, 1, 2)),
        backoff_factor=rng.choice((None, 1.0, 2.0)),
        conditions=conditions,
    )


def _varied_event(rng: Random, event: EventCondition) -> EventCondition:
    return replace(
        event,
        expression=rng.choice(("", "", "input.ok")),
        scope=rng.choice((None, None, "here", _OF_THE_RUN)),
        consider_since_us=rng.choice((None, _RUN_BEGAN)),
    )


def looks_back(event: EventCondition) -> bool:
    """Whether events count that were pushed since the run began."""
    return event.consider_since_us is not None


def meets(told: Told, event: EventCondition, number: int) -> bool:
    """Whether an event is one that a condition of the run with this number waits for."""
    scope = str(number) if event.scope == _OF_THE_RUN else event.scope
    return event.event_key == told.key and scope in (None, told.scope) and (told.ok or not event.expression)


def right_event(rng: Random, event: EventCondition, number: int) -> Told:
    """An event that meets a condition of the run with this number."""
    scope = str(number) if event.scope == _OF_THE_RUN else event.scope
    return Told(
        event.event_key, scope or rng.choice((None, "anywhere")), ok=bool(event.expression) or rng.random() < 0.5
    )


def wrong_event(rng: Random, event: EventCondition, number: int) -> Told | None:
    """One with the same key that does not, if there can be one."""
    right = right_event(rng, event, number)
    if event.scope is not None:
        return right._replace(scope=rng.choice((None, "elsewhere")))
    return right._replace(ok=False) if event.expression else None


def comes(fate: Fate) -> set[int]:
    """The sleeps and events, by place, that come true if the task waits long enough."""
    return {place for places in fate.facts for place in places}


def ends(sleep: SleepCondition | EventCondition) -> bool:
    """Whether a condition is a sleep that is short enough to be waited for."""
    return isinstance(sleep, SleepCondition) and sleep.duration_ms < NEVER_MS


def run_input(number: int) -> bytes:
    """The input of a run; now and then too large to be kept in memory."""
    return _encoded({"number": str(number)}, large=number % 19 == 0)


def task_output(output: Mapping[str, int], number: int, step: int) -> bytes:
    """What a task returns; now and then too large to be kept in memory."""
    return _encoded(output, large=(number + step) % 41 == 0)


STALE_OUTPUT = b'{"n":-1}'
"""What superseded attempts return: it must appear nowhere."""


def output_of_skipped() -> bytes:
    """What a skipped task gives to its children."""
    return json.dumps(SKIPPED_OUTPUT).encode()


def _encoded(values: Mapping[str, object], *, large: bool) -> bytes:
    return json.dumps({**values, "text": "x" * (PAYLOAD_KEPT + 1)} if large else values).encode()
