import contextlib
import dataclasses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from treadle.engine.expressions import EVENT_NAMES, RUN_NAMES, TASK_NAMES, check_definition, check_expression
from treadle.model.definition import (
    Batch,
    Concurrency,
    ConditionAction,
    Conditions,
    DefaultFilter,
    EventCondition,
    Idempotency,
    ParentCondition,
    RateLimit,
    TaskDefinition,
    WorkflowDefinition,
)
from treadle.model.errors import InvalidInput

TASK = TaskDefinition(readable_id="a", action="a:a")
PLAIN = WorkflowDefinition(name="a", tasks=(TASK,))
BAD = "input."


@pytest.mark.parametrize(
    "expression",
    [
        "'constant'",
        "input.user_id",
        "string(input.n) + additional_metadata.region",
        "checksum(input.a)",
        "input.tier == 'gold' ? 10 : 1",
        "has(input.a) && input.items.all(x, x > 1)",
        "-1",
        "workflow_run_id",
        "parents.first.n",
        "input.items.exists_one(i, i.ok) ? 'a' : 'b'",
        "input.name.lowerAscii()",
    ],
)
def test_good_expressions(expression: str) -> None:
    check_expression(expression, "field", TASK_NAMES)


@pytest.mark.parametrize("expression", ["", BAD, "1 +", "'a", "a b", "foo(", "input['a'", "(" * 2000])
def test_what_is_no_cel_is_refused_shortly(expression: str) -> None:
    with pytest.raises(InvalidInput, match=r"^concurrency\[0\].expression: is no CEL expression: ") as caught:
        check_expression(expression, "concurrency[0].expression", RUN_NAMES)
    assert "\n" not in str(caught.value)


def test_a_name_that_will_not_be_there_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'inptu' is not known here; use one of additional_metadata, input"):
        check_expression("inptu.user_id", "field", RUN_NAMES)
    with pytest.raises(InvalidInput, match="'parents'"):
        check_expression("parents.a.b", "field", RUN_NAMES)
    with pytest.raises(InvalidInput, match="'y'"):
        check_expression("input.items.all(x, y > 1)", "field", RUN_NAMES)


@given(st.text(max_size=30) | st.text("input.()[]{}'\"?:&|=!<>+-*/% 09ax,\\", max_size=30))
@example("\0")
@example("\ud800")
def test_no_text_does_worse_than_being_refused(expression: str) -> None:
    with contextlib.suppress(InvalidInput):
        check_expression(expression, "field", EVENT_NAMES)


def _condition(expression: str) -> EventCondition:
    return EventCondition("k", "k", ConditionAction.QUEUE, 0, expression)


def _parent(expression: str) -> ParentCondition:
    return ParentCondition("a", "a", ConditionAction.SKIP, 0, expression)


@pytest.mark.parametrize(
    ("field", "workflow", "task"),
    [
        ("concurrency[0].expression", {"concurrency": (Concurrency(BAD),)}, {}),
        (
            "concurrency[1].max_runs_expression",
            {"concurrency": (Concurrency("'a'"), Concurrency("'b'", max_runs_expression=BAD))},
            {},
        ),
        ("idempotency.expression", {"idempotency": Idempotency(BAD, 5)}, {}),
        ("default_filters[0].expression", {"default_filters": (DefaultFilter(BAD, "s"),)}, {}),
        ("tasks[0].concurrency[0].expression", {}, {"concurrency": (Concurrency(BAD),)}),
        ("tasks[0].rate_limits[0].key_expr", {}, {"rate_limits": (RateLimit("k", key_expression=BAD),)}),
        ("tasks[0].rate_limits[0].units_expr", {}, {"rate_limits": (RateLimit("k", units_expression=BAD),)}),
        (
            "tasks[0].rate_limits[0].limit_values_expr",
            {},
            {"rate_limits": (RateLimit("k", limit_expression=BAD),)},
        ),
        ("tasks[0].batch.batch_group_key", {}, {"batch": Batch(5, group_key=BAD)}),
        (
            "tasks[0].conditions.parent_override_conditions[0].base.expression",
            {},
            {"conditions": Conditions(parents=(_parent(BAD),))},
        ),
        (
            "tasks[0].conditions.user_event_conditions[1].base.expression",
            {},
            {"conditions": Conditions(events=(_condition("input.a"), _condition(BAD)))},
        ),
        (
            "tasks[0].conditions.user_event_conditions[0].event_scope",
            {},
            {"conditions": Conditions(events=(dataclasses.replace(_condition(""), scope="${" + BAD + "}"),))},
        ),
        (
            "on_failure_task.concurrency[0].expression",
            {"on_failure": dataclasses.replace(TASK, concurrency=(Concurrency(BAD),))},
            {},
        ),
    ],
)
def test_every_expression_of_a_definition_is_compiled(
    field: str, workflow: dict[str, object], task: dict[str, object]
) -> None:
    changed = {"tasks": (dataclasses.replace(TASK, **task),)} | workflow  # type: ignore[arg-type]
    with pytest.raises(InvalidInput) as caught:
        check_definition(dataclasses.replace(PLAIN, **changed))  # type: ignore[arg-type]
    assert caught.value.field == field


def test_what_may_be_empty_may_be_empty() -> None:
    task = dataclasses.replace(TASK, conditions=Conditions(parents=(_parent(""),), events=(_condition(""),)))
    check_definition(dataclasses.replace(PLAIN, tasks=(task,), default_filters=(DefaultFilter("", "s"),)))


def test_a_function_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^field: 'lowercase' is no function that is known here$"):
        check_expression("input.name.lowercase() == 'a'", "field", TASK_NAMES)
    with pytest.raises(InvalidInput, match="'nope'"):
        check_expression("nope(1)", "field", TASK_NAMES)


@pytest.mark.parametrize(
    "expression",
    [
        "strings.quote(input.a) == 'a'",
        "type(input.a) == int",
        "!(-input.a in [1]) && input.b[0] >= 1 && size(input.c) % 2 != 1 ? true : false",
        "timestamp(input.at).getFullYear() > 2020 && duration('1h') > duration(input.d)",
    ],
)
def test_what_reads_like_a_name_and_is_none(expression: str) -> None:
    check_expression(expression, "field", TASK_NAMES)


def test_an_expression_that_is_too_long_is_refused() -> None:
    # The library's parser would end the process.
    with pytest.raises(InvalidInput, match=r"^field: is 200001 characters long; at most 4000 are allowed$"):
        check_expression("1" + "+1" * 100_000, "field", TASK_NAMES)
