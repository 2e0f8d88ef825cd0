"""The settings of a task, each from its message to its plain form."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from treadle.model.definition import (
    Batch,
    Concurrency,
    ConcurrencyStrategy,
    ConditionAction,
    Conditions,
    DesiredLabel,
    EventCondition,
    LabelComparator,
    ParentCondition,
    RateLimit,
    RateWindow,
    SleepCondition,
)
from treadle.model.durations import format_duration, parse_duration_ms
from treadle.model.errors import InvalidInput
from treadle.wire.checks import check_expression, check_key, check_range, enum_name
from treadle.wire.convert import time_us
from treadle.wire.gen.hatchet.v1 import workflows_pb2
from treadle.wire.gen.hatchet.v1.shared import condition_pb2, trigger_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_INT32_MAX = 2**31 - 1
_DAY_MS = 86_400_000

# Some SDKs end the data key of a parent condition with the time at which the program started.
_start_time = re.compile(r":\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?\+\d\d:\d\d$")


def concurrency(
    messages: Sequence[workflows_pb2.Concurrency], field: str, *, indexed: bool = True
) -> tuple[Concurrency, ...]:
    """Concurrency limits, in the order in which a run must get through them."""
    return tuple(
        _concurrency(message, f"{field}[{index}]" if indexed else field) for index, message in enumerate(messages)
    )


def _concurrency(message: workflows_pb2.Concurrency, field: str) -> Concurrency:
    max_runs = 1
    if message.HasField("max_runs"):
        max_runs = check_range(message.max_runs, f"{field}.max_runs", 1, _INT32_MAX)
    if message.is_tenant_scoped and not message.name.strip():
        raise InvalidInput(f"{field}.name", "is empty; a limit shared by workflows needs a name")
    strategy = enum_name(workflows_pb2.ConcurrencyLimitStrategy, message.limit_strategy, f"{field}.limit_strategy")
    return Concurrency(
        expression=check_expression(message.expression, f"{field}.expression"),
        max_runs=max_runs,
        strategy=ConcurrencyStrategy(strategy),
        name=check_key(message.name, f"{field}.name") if message.name else None,
        is_tenant_scoped=message.is_tenant_scoped,
        max_runs_expression=message.max_runs_expression or None,
    )


def rate_limits(messages: Sequence[workflows_pb2.CreateTaskRateLimit], field: str) -> tuple[RateLimit, ...]:
    """Rate limits, static ones by key and dynamic ones by an expression for it."""
    return tuple(_rate_limit(message, f"{field}[{index}]") for index, message in enumerate(messages))


def _rate_limit(message: workflows_pb2.CreateTaskRateLimit, field: str) -> RateLimit:
    if message.key_expr and not message.limit_values_expr:
        raise InvalidInput(f"{field}.limit_values_expr", "is empty; a limit with key_expr brings its own size")
    units = None
    if message.HasField("units"):
        units = check_range(message.units, f"{field}.units", 0, _INT32_MAX)
    elif not message.units_expr:
        units = 1
    window = RateWindow.MINUTE
    if message.HasField("duration"):
        window = RateWindow(enum_name(workflows_pb2.RateLimitDuration, message.duration, f"{field}.duration"))
    return RateLimit(
        key=check_key(message.key or message.key_expr, f"{field}.key"),
        units=units,
        key_expression=message.key_expr or None,
        units_expression=message.units_expr or None,
        limit_expression=message.limit_values_expr or None,
        window=window,
    )


def worker_labels(messages: Mapping[str, trigger_pb2.DesiredWorkerLabels], field: str) -> tuple[DesiredLabel, ...]:
    """Wanted worker labels, in the order of their keys."""
    return tuple(desired_label(key, messages[key], f"{field}[{key!r}]") for key in sorted(messages))


def desired_label(key: str, message: trigger_pb2.DesiredWorkerLabels, field: str) -> DesiredLabel:
    """One wanted worker label, of a task or of a single run."""
    check_key(key, field)
    value: str | int
    if message.HasField("int_value") == message.HasField("str_value"):
        raise InvalidInput(field, "needs either str_value or int_value")
    value = message.int_value if message.HasField("int_value") else message.str_value
    comparator = LabelComparator(
        enum_name(trigger_pb2.WorkerLabelComparator, message.comparator, f"{field}.comparator")
    )
    if isinstance(value, str) and comparator not in (LabelComparator.EQUAL, LabelComparator.NOT_EQUAL):
        raise InvalidInput(f"{field}.comparator", f"{comparator} compares numbers; the value is a text")
    return DesiredLabel(
        key=key,
        value=value,
        required=message.required,
        comparator=comparator,
        weight=message.weight if message.HasField("weight") else 100,
    )


def conditions(message: condition_pb2.TaskConditions, field: str) -> Conditions | None:
    """The conditions of a task, or None when it has none, however that is written."""
    groups = _Groups()
    found = Conditions(
        parents=_parent_conditions(message, f"{field}.parent_override_conditions", groups),
        sleeps=tuple(
            _sleep(each, f"{field}.sleep_conditions[{index}]", groups)
            for index, each in enumerate(message.sleep_conditions)
        ),
        events=tuple(
            _event(each, f"{field}.user_event_conditions[{index}]", groups)
            for index, each in enumerate(message.user_event_conditions)
        ),
    )
    return None if found == Conditions() else found


class _Groups:
    """Numbers or-groups by first use: their ids are made up anew each time a worker starts.

    Kept as they are, they would make the same workflow a new version at every start.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._next = 0

    def number(self, group_id: str) -> int:
        if group_id in self._numbers:
            return self._numbers[group_id]
        number = self._next
        self._next += 1
        if group_id:  # without an id a condition is a group of its own
            self._numbers[group_id] = number
        return number


def _action(base: condition_pb2.BaseMatchCondition, field: str) -> ConditionAction:
    return ConditionAction(enum_name(condition_pb2.Action, base.action, f"{field}.base.action"))


def _parent_conditions(
    message: condition_pb2.TaskConditions, field: str, groups: _Groups
) -> tuple[ParentCondition, ...]:
    found: list[ParentCondition] = []
    used: set[str] = set()
    for index, each in enumerate(message.parent_override_conditions):
        name = f"{field}[{index}]"
        data_key = stem = _start_time.sub("", each.base.readable_data_key) or each.parent_readable_id
        copies = 1
        while data_key in used:
            copies += 1
            data_key = f"{stem}#{copies}"
        used.add(data_key)
        found.append(
            ParentCondition(
                parent=each.parent_readable_id,
                data_key=data_key,
                action=_action(each.base, name),
                or_group=groups.number(each.base.or_group_id),
                expression=each.base.expression,
            )
        )
    return tuple(found)


def _sleep(message: condition_pb2.SleepMatchCondition, field: str, groups: _Groups) -> SleepCondition:
    duration_ms = parse_duration_ms(message.sleep_for, f"{field}.sleep_for")
    return SleepCondition(
        duration_ms=duration_ms,
        data_key=message.base.readable_data_key or f"sleep:{format_duration(duration_ms)}",
        action=_action(message.base, field),
        or_group=groups.number(message.base.or_group_id),
        expression=message.base.expression,
    )


def _event(message: condition_pb2.UserEventMatchCondition, field: str, groups: _Groups) -> EventCondition:
    since = None
    if message.HasField("consider_events_since"):
        since = time_us(message.consider_events_since, f"{field}.consider_events_since")
    return EventCondition(
        event_key=check_key(message.user_event_key, f"{field}.user_event_key"),
        data_key=message.base.readable_data_key or message.user_event_key,
        action=_action(message.base, field),
        or_group=groups.number(message.base.or_group_id),
        expression=message.base.expression,
        scope=message.event_scope or None,
        consider_since_us=since,
    )


def batch(message: workflows_pb2.TaskBatchConfig, field: str) -> Batch:
    """How the runs of a batch task are gathered."""
    interval = group_max_runs = None
    if message.HasField("batch_max_interval_ms"):
        interval = check_range(message.batch_max_interval_ms, f"{field}.batch_max_interval_ms", 1, _DAY_MS)
    if message.HasField("batch_group_max_runs"):
        group_max_runs = check_range(message.batch_group_max_runs, f"{field}.batch_group_max_runs", 1, 10_000)
    return Batch(
        max_size=check_range(message.batch_max_size, f"{field}.batch_max_size", 1, 100_000),
        max_interval_ms=interval,
        group_key=message.batch_group_key or None,
        group_max_runs=group_max_runs,
        broadcast_output=message.broadcast_output,
    )
