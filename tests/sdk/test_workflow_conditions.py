"""Conditions: what | and & make of them, and how they reach the engine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle import Condition, Treadle, event, sleep
from treadle.model.definition import ConditionAction, Conditions, EventCondition, ParentCondition, SleepCondition
from treadle.sdk import conditions as dsl
from treadle.sdk.worker.registration import definition_of
from treadle.wire.definitions import workflow_from_proto

if TYPE_CHECKING:
    from collections.abc import Callable

A, B, C, D = (event(name) for name in "abcd")


def groups(condition: Condition) -> list[str]:
    return ["".join(atom.key for atom in group if isinstance(atom, dsl.EventCondition)) for group in _cnf(condition)]


def _cnf(condition: Condition) -> list[dsl.Group]:
    return dsl.groups_of(condition, "here")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (A, ["a"]),
        (A | B, ["ab"]),
        (A & B, ["a", "b"]),
        ((A & B) | C, ["ac", "bc"]),
        ((A & B) | (C & D), ["ac", "ad", "bc", "bd"]),
        ((A | B) & (C | D), ["ab", "cd"]),
        (A | B | C | D, ["abcd"]),
        (A & (A | B), ["a"]),
        ((A | B) & A & A, ["a"]),
        ((A & B) | (A & C), ["a", "bc"]),
        (event("a") | A, ["a"]),
    ],
)
def test_combinations_become_groups_of_alternatives(condition: Condition, expected: list[str]) -> None:
    assert groups(condition) == expected


LEAVES = [event(name) for name in "pqrst"]

expressions = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.builds(
        lambda left, right, both: left & right if both else left | right, inner, inner, st.booleans()
    ),
    max_leaves=8,
)


def _holds(condition: Condition, met: dict[Condition, bool]) -> bool:
    if isinstance(condition, dsl.AllOf):
        return all(_holds(member, met) for member in condition.members)
    if isinstance(condition, dsl.AnyOf):
        return any(_holds(member, met) for member in condition.members)
    return met[condition]


@given(expressions)
def test_the_groups_say_the_same_as_the_expression(condition: Condition) -> None:
    found = _cnf(condition)
    for values in product([False, True], repeat=len(LEAVES)):
        met: dict[Condition, bool] = dict(zip(LEAVES, values, strict=True))
        assert all(any(met[atom] for atom in group) for group in found) == _holds(condition, met)
    kinds = [frozenset(group) for group in found]
    assert not any(one < other for one in kinds for other in kinds), "a group says less than another one"


def test_an_explosion_is_refused_and_not_computed() -> None:
    pairs = [event(f"a{n}") & event(f"b{n}") for n in range(7)]
    condition: Condition = pairs[0]
    for pair in pairs[1:6]:
        condition |= pair
    assert len(_cnf(condition)) == 64
    for _ in range(3):
        condition |= pairs[6]
    app = Treadle("t", "h:1")
    orders = app.workflow("orders")
    with pytest.raises(ValueError, match=r"task orders\.ship: wait_for: .* more than 64 groups"):

        @orders.task(wait_for=condition)
        def ship() -> None: ...

    assert orders.tasks == {}


def test_long_chains_are_no_deep_ones() -> None:
    condition: Condition = event("first")
    for number in range(3000):
        condition |= event(f"e{number}")
    assert [len(group) for group in _cnf(condition)] == [3001]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bool(event("a")), r"combine conditions with \| and &"),
        (lambda: event("a") or event("b"), r"combine conditions with \| and &"),  # type: ignore[redundant-expr]
        (lambda: event("a") | "b", "unsupported operand"),  # type: ignore[operator]
        (lambda: dsl.groups_of("a", "task x: wait_for"), "task x: wait_for: 'a' is no condition"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_combination_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: event(""), "1 to 1024 characters"),
        (lambda: event("order.*"), "not for a pattern"),
        (lambda: event("a", where="x" * 9000), "more than 4000"),
        (lambda: event("a", since=datetime(2026, 1, 1)), "no time zone"),  # noqa: DTZ001 - the mistake
        (lambda: event("a", since=datetime(1969, 1, 1, tzinfo=UTC)), "before 1970-01-02"),
        (lambda: event("a", since="yesterday"), 'neither "run"'),  # type: ignore[call-overload]
        (lambda: sleep(timedelta(0)), "out of range"),
        (sleep, "out of range"),
        (lambda: sleep(seconds=-1), "out of range"),
        (lambda: sleep(days=200_000), "out of range"),
    ],
)
def test_what_the_engine_would_refuse_is_refused_here(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@dataclass
class Order:
    total: int


def test_the_engine_reads_what_was_meant() -> None:
    """All kinds, actions and options, through the engine's own reading of the registration."""
    app = Treadle("t", "h:1")
    orders = app.workflow("Orders", input=Order)

    @orders.task
    def charge(order: Order) -> Order:
        return order

    @orders.task
    def check(order: Order) -> bool:
        return bool(order)

    moment = datetime(2026, 5, 1, tzinfo=UTC)
    approved = event("approved", where="input.by == 'me'", scope="eu")
    late = sleep(minutes=90)

    @orders.task(
        parents=[check],
        wait_for=(approved & event("paid", since="wait")) | late,
        skip_if=charge.when("output.total == 0"),
        cancel_if=event("stopped", since=moment) | event("approved", where="input.by == 'you'"),
    )
    def ship() -> None: ...

    read = workflow_from_proto(definition_of(orders))
    found = next(task for task in read.tasks if task.readable_id == "ship")
    assert found.action == "orders:ship"
    assert found.parents == ("check", "charge")
    queue, skip, cancel = ConditionAction.QUEUE, ConditionAction.SKIP, ConditionAction.CANCEL

    def numbered(conditions: Conditions) -> dict[int, set[str]]:
        members: list[Any] = [*conditions.parents, *conditions.sleeps, *conditions.events]
        result: dict[int, set[str]] = {}
        for member in members:
            result.setdefault(member.or_group, set()).add(f"{member.action}:{member.data_key}")
        return result

    assert found.conditions is not None
    assert sorted(map(sorted, numbered(found.conditions).values())) == [
        ["CANCEL:approved#2", "CANCEL:stopped"],
        ["QUEUE:approved", "QUEUE:sleep:1h30m"],
        ["QUEUE:paid", "QUEUE:sleep:1h30m"],
        ["SKIP:charge"],
    ]
    assert found.conditions.parents == (ParentCondition("charge", "charge", skip, 0, "output.total == 0"),)
    assert {(s.duration_ms, s.action) for s in found.conditions.sleeps} == {(5_400_000, queue)}
    assert all(isinstance(each, SleepCondition) for each in found.conditions.sleeps)
    events = {each.data_key: each for each in found.conditions.events}
    assert events["approved"] == EventCondition(
        "approved", "approved", queue, events["approved"].or_group, "input.by == 'me'", "eu", 1
    )
    assert events["paid"].consider_since_us is None
    assert events["stopped"].consider_since_us == int(moment.timestamp() * 1_000_000)
    assert events["approved#2"].action == cancel
    assert events["approved#2"].expression == "input.by == 'you'"


def test_the_definition_is_the_same_each_time() -> None:
    """Otherwise every start of a worker would be a new version."""

    def made() -> bytes:
        app = Treadle("t", "h:1")
        flow = app.workflow("flow")

        @flow.task(wait_for=(event("x") & event("y")) | (sleep(seconds=5) & event("z")))
        def wait() -> None: ...

        return definition_of(flow).SerializeToString(deterministic=True)

    assert made() == made()
