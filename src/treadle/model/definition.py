"""What a workflow is: the checked, plain form of a registration.

Every setting of the contract is here from the start, also those the engine cannot act on yet:
``unsupported_setting`` tells which. The JSON form is what the database keeps.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from pydantic import TypeAdapter


class ConcurrencyStrategy(StrEnum):
    """What happens to runs beyond the limit of their key."""

    CANCEL_IN_PROGRESS = "CANCEL_IN_PROGRESS"
    DROP_NEWEST = "DROP_NEWEST"
    QUEUE_NEWEST = "QUEUE_NEWEST"
    GROUP_ROUND_ROBIN = "GROUP_ROUND_ROBIN"
    CANCEL_NEWEST = "CANCEL_NEWEST"
    CANCEL_QUEUED_EXCEPT_NEWEST = "CANCEL_QUEUED_EXCEPT_NEWEST"
    CANCEL_QUEUED_EXCEPT_OLDEST = "CANCEL_QUEUED_EXCEPT_OLDEST"


class RateWindow(StrEnum):
    """Length of the window of a rate limit."""

    SECOND = "SECOND"
    MINUTE = "MINUTE"
    HOUR = "HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    YEAR = "YEAR"


class LabelComparator(StrEnum):
    """How the wanted value of a worker label is compared with the worker's."""

    EQUAL = "EQUAL"
    NOT_EQUAL = "NOT_EQUAL"
    GREATER_THAN = "GREATER_THAN"
    GREATER_THAN_OR_EQUAL = "GREATER_THAN_OR_EQUAL"
    LESS_THAN = "LESS_THAN"
    LESS_THAN_OR_EQUAL = "LESS_THAN_OR_EQUAL"


class ConditionAction(StrEnum):
    """What a task does once the groups of an action are satisfied."""

    CREATE = "CREATE"
    QUEUE = "QUEUE"
    CANCEL = "CANCEL"
    SKIP = "SKIP"


class StickyStrategy(StrEnum):
    """Whether tasks of one run should (SOFT) or must (HARD) share a worker."""

    SOFT = "SOFT"
    HARD = "HARD"


class IdempotencyMethod(StrEnum):
    """What frees an idempotency key: time alone, or the end of the run that holds it."""

    TTL = "TTL"
    STATUS = "STATUS"


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most ``max_runs`` at a time for each value of the key expression."""

    expression: str
    max_runs: int = 1
    strategy: ConcurrencyStrategy = ConcurrencyStrategy.CANCEL_IN_PROGRESS
    name: str | None = None
    is_tenant_scoped: bool = False
    max_runs_expression: str | None = None


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Units taken from a shared bucket when the task is assigned.

    A static limit names a bucket with ``key``; a dynamic one renders the name from
    ``key_expression`` for each run and carries its own limit.
    """

    key: str
    units: int | None = None
    key_expression: str | None = None
    units_expression: str | None = None
    limit_expression: str | None = None
    window: RateWindow = RateWindow.MINUTE


@dataclass(frozen=True, slots=True)
class DesiredLabel:
    """A worker label the task wants; ``required`` excludes workers that do not match."""

    key: str
    value: str | int
    required: bool = False
    comparator: LabelComparator = LabelComparator.EQUAL
    weight: int = 100


@dataclass(frozen=True, slots=True)
class ParentCondition:
    """A test on the output of a parent task. ``or_group`` numbers the alternatives it belongs to."""

    parent: str
    data_key: str
    action: ConditionAction
    or_group: int
    expression: str = ""


@dataclass(frozen=True, slots=True)
class SleepCondition:
    """Met when the time has passed since the parents finished."""

    duration_ms: int
    data_key: str
    action: ConditionAction
    or_group: int
    expression: str = ""


@dataclass(frozen=True, slots=True)
class EventCondition:
    """Met by an event of that key for which the expression holds.

    The scope is a text, or `${expression}`: then it is worked out for each run when the task begins to wait, so that
    an event can be meant for one run of many.
    """

    event_key: str
    data_key: str
    action: ConditionAction
    or_group: int
    expression: str = ""
    scope: str | None = None
    consider_since_us: int | None = None

    @property
    def scope_expression(self) -> str | None:
        """What gives the scope for each run, when the scope is written as `${expression}`; else None."""
        scope = self.scope
        return scope[2:-1] if scope is not None and scope.startswith("${") and scope.endswith("}") else None


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a task waits for, or is skipped or cancelled by.

    Groups of one action must all hold; within a group one member is enough.
    """

    parents: tuple[ParentCondition, ...] = ()
    sleeps: tuple[SleepCondition, ...] = ()
    events: tuple[EventCondition, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """How runs of a batch task are gathered before the handler gets them together."""

    max_size: int
    max_interval_ms: int | None = None
    group_key: str | None = None
    group_max_runs: int | None = None
    broadcast_output: bool = False


@dataclass(frozen=True, slots=True)
class DefaultFilter:
    """A filter on events that comes with the workflow. ``payload`` is JSON text."""

    expression: str
    scope: str
    payload: str | None = None


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Runs with the same rendered key collide while the key is held."""

    expression: str
    ttl_ms: int
    method: IdempotencyMethod = IdempotencyMethod.TTL


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """One task of a workflow. ``action`` is lower-case ``service:verb``, as workers offer it."""

    readable_id: str
    action: str
    timeout_ms: int = 60_000
    schedule_timeout_ms: int = 300_000
    retries: int = 0
    backoff_factor: float | None = None
    backoff_max_seconds: int | None = None
    parents: tuple[str, ...] = ()
    slot_requests: tuple[tuple[str, int], ...] = (("default", 1),)
    is_durable: bool = False
    concurrency: tuple[Concurrency, ...] = ()
    rate_limits: tuple[RateLimit, ...] = ()
    worker_labels: tuple[DesiredLabel, ...] = ()
    conditions: Conditions | None = None
    batch: Batch | None = None


@dataclass(frozen=True, slots=True)
class WorkflowDefinition:
    """A named set of tasks with its triggers. ``cron_input`` and the schema are JSON text."""

    name: str
    tasks: tuple[TaskDefinition, ...]
    description: str = ""
    version: str = ""
    on_failure: TaskDefinition | None = None
    sticky: StickyStrategy | None = None
    default_priority: int = 1
    concurrency: tuple[Concurrency, ...] = ()
    event_triggers: tuple[str, ...] = ()
    cron_triggers: tuple[str, ...] = ()
    cron_input: str | None = None
    default_filters: tuple[DefaultFilter, ...] = ()
    input_json_schema: str | None = None
    idempotency: Idempotency | None = None


@cache
def _adapter() -> TypeAdapter[WorkflowDefinition]:
    return TypeAdapter(WorkflowDefinition)


def definition_to_json(definition: WorkflowDefinition) -> dict[str, Any]:
    """The definition as JSON values; settings left at their default are left out."""
    values: dict[str, Any] = _adapter().dump_python(definition, mode="json", exclude_defaults=True)
    return values


def definition_from_json(values: dict[str, Any]) -> WorkflowDefinition:
    """Read back what ``definition_to_json`` wrote; unknown keys of newer engines are ignored."""
    return _adapter().validate_python(values)


def content_hash(definition: WorkflowDefinition) -> str:
    """A SHA-256 (hex) that is the same for definitions that behave the same.

    The description is not part of it, and a setting at its default hashes like one never made,
    so settings added later keep the hashes of workflows that don't use them.
    """
    values = definition_to_json(definition)
    values.pop("description", None)
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def unsupported_setting(definition: WorkflowDefinition) -> str | None:
    """The first setting that keeps runs of this workflow from being started, as a short phrase."""
    tasks = definition.tasks if definition.on_failure is None else (*definition.tasks, definition.on_failure)
    labels = [label for task in tasks for label in task.worker_labels]
    checks = (
        ("a durable task", any(task.is_durable for task in tasks)),
        ("batch", any(task.batch is not None for task in tasks)),
        ("concurrency", bool(definition.concurrency) or any(task.concurrency for task in tasks)),
        ("rate_limits", any(task.rate_limits for task in tasks)),
        ("required worker labels", any(label.required for label in labels)),
        ("worker labels", bool(labels)),
        ("sticky", definition.sticky is not None),
        ("idempotency", definition.idempotency is not None),
    )
    return next((phrase for phrase, found in checks if found), None)
