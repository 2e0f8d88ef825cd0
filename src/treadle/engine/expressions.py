"""CEL expressions of a definition: whether they can be used at all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from treadle.engine.cel import ExpressionFailed, compile_expression
from treadle.engine.cel_functions import KNOWN
from treadle.model.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from treadle.model.definition import Concurrency, Conditions, TaskDefinition, WorkflowDefinition

RUN_NAMES = frozenset({"input", "additional_metadata", "workflow_run_id"})
TASK_NAMES = RUN_NAMES | {"parents"}
EVENT_NAMES = frozenset({"input", "additional_metadata", "payload", "event_id", "event_key"})
PARENT_NAMES = RUN_NAMES | {"output"}

# What reads as a variable and is none: strings.quote(x), type(x) == int.
_names_with = {
    "quote": frozenset({"strings"}),
    "type": frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"}),
}

# The loop variable of a macro, e.g. the x in items.all(x, x > 1), counts as one of its names.
_loop_variables = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,").findall


def check_definition(definition: WorkflowDefinition) -> None:
    """Compile every expression of a workflow.

    Raises:
        InvalidInput: One of them is no CEL, or uses a name that it will not be given.
    """
    for field, expression, names in _expressions(definition):
        check_expression(expression, field, names)


def check_expression(expression: str, field: str, names: frozenset[str]) -> None:
    """Compile one expression that may use these names."""
    try:
        program = compile_expression(expression)
    except ExpressionFailed as error:
        raise InvalidInput(field, error.reason) from None
    unknown = program.names - names - set(_loop_variables(expression))
    for function in program.functions & _names_with.keys():
        unknown -= _names_with[function]
    if unknown:
        raise InvalidInput(field, f"{min(unknown)!r} is not known here; use one of {', '.join(sorted(names))}")
    missing = {name for name in program.functions if name.isidentifier() and not name.startswith("_")} - KNOWN
    if missing:
        raise InvalidInput(field, f"{min(missing)!r} is no function that is known here")


def _expressions(definition: WorkflowDefinition) -> Iterator[tuple[str, str, frozenset[str]]]:
    yield from _of_concurrency(definition.concurrency, "concurrency", RUN_NAMES)
    if definition.idempotency is not None:
        yield "idempotency.expression", definition.idempotency.expression, RUN_NAMES
    for index, each in enumerate(definition.default_filters):
        # An empty filter is legal: it lets nothing through.
        if each.expression:
            yield f"default_filters[{index}].expression", each.expression, EVENT_NAMES
    for index, task in enumerate(definition.tasks):
        yield from _of_task(task, f"tasks[{index}]")
    if definition.on_failure is not None:
        yield from _of_task(definition.on_failure, "on_failure_task")


def _of_concurrency(
    limits: tuple[Concurrency, ...], field: str, names: frozenset[str]
) -> Iterator[tuple[str, str, frozenset[str]]]:
    for index, limit in enumerate(limits):
        yield f"{field}[{index}].expression", limit.expression, names
        if limit.max_runs_expression is not None:
            yield f"{field}[{index}].max_runs_expression", limit.max_runs_expression, names


def _of_task(task: TaskDefinition, field: str) -> Iterator[tuple[str, str, frozenset[str]]]:
    yield from _of_concurrency(task.concurrency, f"{field}.concurrency", TASK_NAMES)
    for index, limit in enumerate(task.rate_limits):
        for name, expression in (
            ("key_expr", limit.key_expression),
            ("units_expr", limit.units_expression),
            ("limit_values_expr", limit.limit_expression),
        ):
            if expression is not None:
                yield f"{field}.rate_limits[{index}].{name}", expression, TASK_NAMES
    if task.batch is not None and task.batch.group_key is not None:
        yield f"{field}.batch.batch_group_key", task.batch.group_key, TASK_NAMES
    if task.conditions is not None:
        yield from _of_conditions(task.conditions, f"{field}.conditions")


def _of_conditions(conditions: Conditions, field: str) -> Iterator[tuple[str, str, frozenset[str]]]:
    for index, parent in enumerate(conditions.parents):
        if parent.expression:
            name = f"{field}.parent_override_conditions[{index}].base.expression"
            yield name, parent.expression, PARENT_NAMES
    for index, event in enumerate(conditions.events):
        if event.scope_expression is not None:
            name = f"{field}.user_event_conditions[{index}].event_scope"
            yield name, event.scope_expression, RUN_NAMES
        if event.expression:
            name = f"{field}.user_event_conditions[{index}].base.expression"
            yield name, event.expression, EVENT_NAMES
