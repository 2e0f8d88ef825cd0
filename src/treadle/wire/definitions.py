"""From a registration on the wire to a checked workflow definition.

Whatever is refused here is refused by name, e.g. ``tasks[2].timeout``: an SDK stops its worker
when a registration fails, and the message is all that its author sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.model.crons import check_cron
from treadle.model.definition import (
    Conditions,
    DefaultFilter,
    Idempotency,
    IdempotencyMethod,
    StickyStrategy,
    TaskDefinition,
    WorkflowDefinition,
)
from treadle.model.durations import parse_duration_ms
from treadle.model.errors import InvalidInput
from treadle.model.graph import find_cycle
from treadle.model.names import check_name
from treadle.model.payload import check_json
from treadle.wire import settings_from_proto as settings
from treadle.wire.checks import check_key, check_no_nul, check_range, enum_name
from treadle.wire.gen.hatchet.v1 import workflows_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT_TIMEOUT_MS = 60_000
DEFAULT_SCHEDULE_TIMEOUT_MS = 300_000
MAX_JSON_BYTES = 1 << 20
"""Longest cron input, filter payload and input schema."""


def workflow_from_proto(message: workflows_pb2.CreateWorkflowVersionRequest) -> WorkflowDefinition:
    """Check a registration and turn it into its plain form.

    Raises:
        InvalidInput: Something in it is wrong; ``field`` says what.
    """
    check_no_nul(message)
    name = check_name(message.name, "name")
    if not message.tasks:
        raise InvalidInput("tasks", "is empty; a workflow has at least one task")
    tasks = tuple(_task(task, f"tasks[{index}]") for index, task in enumerate(message.tasks))
    _check_unique(tasks)
    on_failure = None
    if message.HasField("on_failure_task"):
        on_failure = _on_failure(message.on_failure_task, tasks)
    _check_order(tasks)

    single = [message.concurrency] if message.HasField("concurrency") else []
    concurrency = settings.concurrency(single, "concurrency", indexed=False) + settings.concurrency(
        message.concurrency_arr, "concurrency_arr"
    )
    default_priority = 1
    if message.HasField("default_priority"):
        default_priority = check_range(message.default_priority, "default_priority", 1, 3)
    sticky = None
    if message.HasField("sticky"):
        sticky = StickyStrategy(enum_name(workflows_pb2.StickyStrategy, message.sticky, "sticky"))
    return WorkflowDefinition(
        name=name,
        tasks=tasks,
        description=message.description,
        version=message.version,
        on_failure=on_failure,
        sticky=sticky,
        default_priority=default_priority,
        concurrency=tuple(dict.fromkeys(concurrency)),
        event_triggers=_distinct(
            check_key(key, f"event_triggers[{index}]") for index, key in enumerate(message.event_triggers)
        ),
        cron_triggers=_distinct(
            check_cron(cron, f"cron_triggers[{index}]") for index, cron in enumerate(message.cron_triggers)
        ),
        cron_input=_json_object(message.cron_input.encode(), "cron_input"),
        default_filters=tuple(
            _filter(each, f"default_filters[{index}]") for index, each in enumerate(message.default_filters)
        ),
        input_json_schema=_json_object(message.input_json_schema, "input_json_schema"),
        idempotency=_idempotency(message.idempotency) if message.HasField("idempotency") else None,
    )


def _task(message: workflows_pb2.CreateTaskOpts, field: str) -> TaskDefinition:
    factor = max_seconds = None
    if message.HasField("backoff_factor"):
        # The wire has a 32-bit float, on which 1.1 reads as 1.10000002: take what was meant.
        factor = float(f"{message.backoff_factor:.7g}")
        if not 1 <= factor <= 1000:
            raise InvalidInput(f"{field}.backoff_factor", f"is {factor:g}; it must lie between 1 and 1000")
    if message.HasField("backoff_max_seconds"):
        max_seconds = check_range(message.backoff_max_seconds, f"{field}.backoff_max_seconds", 1, 86_400)
    slots = message.slot_requests or {"durable" if message.is_durable else "default": 1}
    return TaskDefinition(
        readable_id=check_name(message.readable_id, f"{field}.readable_id"),
        action=_action(message.action, f"{field}.action"),
        timeout_ms=_limit(message.timeout, f"{field}.timeout", DEFAULT_TIMEOUT_MS),
        schedule_timeout_ms=_limit(message.schedule_timeout, f"{field}.schedule_timeout", DEFAULT_SCHEDULE_TIMEOUT_MS),
        retries=check_range(message.retries, f"{field}.retries", 0, 2**31 - 1),
        backoff_factor=factor,
        backoff_max_seconds=max_seconds,
        parents=_distinct(message.parents),
        slot_requests=tuple(
            (
                check_name(kind, f"{field}.slot_requests"),
                check_range(units, f"{field}.slot_requests[{kind!r}]", 1, 2**31 - 1),
            )
            for kind, units in sorted(slots.items())
        ),
        is_durable=message.is_durable,
        concurrency=settings.concurrency(message.concurrency, f"{field}.concurrency"),
        rate_limits=settings.rate_limits(message.rate_limits, f"{field}.rate_limits"),
        worker_labels=settings.worker_labels(message.worker_labels, f"{field}.worker_labels"),
        conditions=settings.conditions(message.conditions, f"{field}.conditions"),
        batch=settings.batch(message.batch, f"{field}.batch") if message.HasField("batch") else None,
    )


def _on_failure(message: workflows_pb2.CreateTaskOpts, tasks: tuple[TaskDefinition, ...]) -> TaskDefinition:
    task = _task(message, "on_failure_task")
    if task.readable_id in {other.readable_id for other in tasks}:
        raise InvalidInput("on_failure_task.readable_id", f"{task.readable_id!r} is the name of another task")
    if task.parents:
        raise InvalidInput("on_failure_task.parents", "must be empty: it runs when any task has failed")
    if task.conditions is not None:
        raise InvalidInput("on_failure_task.conditions", "must be empty: it runs when any task has failed")
    return task


def _action(text: str, field: str) -> str:
    parts = text.split(":")
    if len(parts) not in (2, 3):
        raise InvalidInput(field, f"{text!r} is not of the form 'service:verb'")
    for part in parts:
        check_name(part, field)
    return text.lower()


def _limit(text: str, field: str, default: int) -> int:
    if not text:
        return default
    ms = parse_duration_ms(text, field)
    if ms == 0:
        raise InvalidInput(field, f"is zero ({text!r}); SDKs cut times below one second to that")
    return ms


def _check_unique(tasks: tuple[TaskDefinition, ...]) -> None:
    seen: dict[str, int] = {}
    for index, task in enumerate(tasks):
        if task.readable_id in seen:
            raise InvalidInput(
                f"tasks[{index}].readable_id",
                f"{task.readable_id!r} is also the name of tasks[{seen[task.readable_id]}]",
            )
        seen[task.readable_id] = index


def _check_order(tasks: tuple[TaskDefinition, ...]) -> None:
    """Refuse parents that do not exist, and tasks that wait for each other in a circle."""
    waits_for: dict[str, list[str]] = {task.readable_id: [] for task in tasks}
    for index, task in enumerate(tasks):
        conditions = task.conditions or Conditions()
        for field, parents in (
            ("parents", task.parents),
            ("conditions.parent_override_conditions", tuple(each.parent for each in conditions.parents)),
        ):
            for position, parent in enumerate(parents):
                if parent not in waits_for:
                    raise InvalidInput(f"tasks[{index}].{field}[{position}]", f"{parent!r} is no task of this workflow")
                waits_for[task.readable_id].append(parent)
    cycle = find_cycle(waits_for)
    if cycle:
        position = next(index for index, task in enumerate(tasks) if task.readable_id == cycle[-1])
        raise InvalidInput(f"tasks[{position}].parents", f"these tasks wait for each other: {' -> '.join(cycle)}")


def _idempotency(message: workflows_pb2.IdempotencyConfig) -> Idempotency:
    method = enum_name(workflows_pb2.IdempotencyMethod, message.method, "idempotency.method")
    return Idempotency(
        expression=check_key(message.expression, "idempotency.expression"),
        ttl_ms=check_range(message.ttl_ms, "idempotency.ttl_ms", 1, 2**53),
        method=IdempotencyMethod(method),
    )


def _filter(message: workflows_pb2.DefaultFilter, field: str) -> DefaultFilter:
    return DefaultFilter(
        expression=message.expression,
        scope=message.scope,
        payload=_json_object(message.payload, f"{field}.payload"),
    )


def _json_object(data: bytes, field: str) -> str | None:
    if data.strip() in (b"", b"null"):
        return None
    return check_json(data, field, object_only=True, max_bytes=MAX_JSON_BYTES).decode()


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
