"""Expressions over events and outputs of parents: what they see, what they give, and how they fail."""

import hashlib
import time
from typing import Any

import pytest

from treadle.engine.cel import (
    MAX_LENGTH,
    ExpressionFailed,
    Json,
    Variables,
    compile_expression,
    evaluate_bool,
    evaluate_text,
    event_variables,
    parent_variables,
    run_variables,
)

DATA: dict[str, Any] = {
    "input": {"n": 3, "x": 1.5, "name": "Ada", "flag": True, "tags": ["a", "b"], "none": None},
    "event_key": "order:paid",
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("true", True),
        ("input.n > 2", True),
        ("input.n == 3.0 && input.x < 2", True),
        ("input.name.lowerAscii() == 'ada' && input.name.upperAscii() == 'ADA'", True),
        ("'b' in input.tags", True),
        ("input.tags.exists(t, t == 'c')", False),
        ("has(input.missing)", False),
        ("input.missing == 1 || input.flag", True),
        ("input.none == null", True),
        ("event_key.startsWith('order:')", True),
        ("input.name.matches('^A.a$')", True),
        ("input.n + 1 == 4", True),
        # Parties that read numbers of JSON as doubles write this; CEL itself mixes no kinds of numbers.
        ("input.n * 1.5 == 4.5", True),
        ("input.n % 2 == 1", True),
        ("bool('true')", True),
    ],
)
def test_a_truth_value(expression: str, *, expected: bool) -> None:
    assert evaluate_bool(expression, DATA) is expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("'constant'", "constant"),
        ("checksum(input.name)", hashlib.sha256(b"Ada").hexdigest()),
        ("input.name.checksum()", hashlib.sha256(b"Ada").hexdigest()),
        ("string(input.n) + '-' + string(input.flag)", "3-true"),
        ("input.tags.join('+')", "a+b"),
        ("input.name.replace('A', 'I').charAt(0) + input.name.substring(1)", "Ida"),
        ("'a,b'.split(',')[1]", "b"),
        ("' a '.trim()", "a"),
        ("strings.quote('a')", '"a"'),
        ("'é'.upperAscii() + 'z'.upperAscii()", "éZ"),
    ],
)
def test_a_text(expression: str, expected: str) -> None:
    assert evaluate_text(expression, DATA) == expected


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("input.missing == 1", "there is no key 'missing'"),
        ("nope == 1", "Undefined variable or function: 'nope'"),
        ("input.nope()", "Undefined variable or function: 'nope'"),
        ("input.name + 1 == 'x'", "Unsupported operation: string + int"),
        ("1 / 0 == 1", "division by zero in CEL expression"),
        ("input.n", "gives a number, not a truth value"),
        ("input.tags", "gives a list, not a truth value"),
        ("input", "gives a map, not a truth value"),
        ("null", "gives null, not a truth value"),
        ("input.name", "gives a text, not a truth value"),
        ("", "is no CEL expression: "),
        ("input.", "is no CEL expression: "),
        (
            "'a'.charAt(7) == ''",
            "Function 'charAt' error: Python function call failed: IndexError: charAt: index 7 out",
        ),
        ("'a'.matches('(')", "Function 'matches' error: '(' not a valid regex"),
    ],
)
def test_a_failure_says_why_in_one_short_line(expression: str, reason: str) -> None:
    with pytest.raises(ExpressionFailed) as caught:
        evaluate_bool(expression, DATA)
    assert caught.value.reason.startswith(reason)
    assert "\n" not in caught.value.reason
    assert len(caught.value.reason) <= 400


def test_a_key_must_be_a_text() -> None:
    with pytest.raises(ExpressionFailed, match=r"^gives a number, not a text$"):
        evaluate_text("input.n", DATA)
    with pytest.raises(ExpressionFailed, match=r"^gives a truth value, not a text$"):
        evaluate_text("input.flag", DATA)


def test_an_expression_that_is_too_long_is_refused_before_the_parser_sees_it() -> None:
    assert evaluate_bool("true" + " " * (MAX_LENGTH - 4), {})
    with pytest.raises(ExpressionFailed, match=r"^is 100004 characters long; at most 4000 are allowed$"):
        # The parser's recursion over this ends the process.
        evaluate_bool("1" + "+1" * 50_000 + "==1", {})


def test_the_longest_chains_allowed_do_no_harm() -> None:
    for part, begin in (("+1", "1"), (".a", "input"), ("[0]", "input"), ("||input", "input"), (" in input", "input")):
        chain = begin + part * ((MAX_LENGTH - len(begin)) // len(part))
        with pytest.raises(ExpressionFailed):
            evaluate_bool(chain, {"input": {}})


def test_programs_are_compiled_once() -> None:
    assert compile_expression("input.a == 1") is compile_expression("input.a == 1")


def test_an_event() -> None:
    seen = event_variables(
        payload=b'{"amount": 5}', metadata='{"region": "eu"}', event_id="0198", event_key="order:paid"
    )
    assert evaluate_bool("input.amount == 5 && additional_metadata.region == 'eu'", seen)
    assert evaluate_bool("event_key == 'order:paid' && event_id == '0198' && payload == {}", seen)
    bare = event_variables(payload=b"{}", metadata=None, event_id="0198", event_key="k", filter_payload=b'{"min": 3}')
    assert evaluate_bool("additional_metadata == {} && payload.min == 3 && input == {}", bare)


def test_a_parents_output_beside_what_is_known_of_the_run() -> None:
    run = run_variables(input=b'{"limit": 7}', metadata="", workflow_run_id="0198")
    seen = parent_variables(run, b'{"value": 8}')
    assert evaluate_bool("output.value > input.limit && workflow_run_id == '0198' && additional_metadata == {}", seen)
    assert evaluate_bool("has(output.skipped)", parent_variables(run, b'{"skipped": true}'))
    assert not evaluate_bool("has(output.value)", parent_variables(run, None))
    with pytest.raises(ExpressionFailed, match="'output'"):
        evaluate_bool("output.value == 8", run)


def test_json_is_parsed_once_and_only_when_an_expression_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes | str] = []

    def loads(raw: bytes | str) -> object:
        parsed.append(raw)
        return {"a": 1}

    monkeypatch.setattr("treadle.engine.cel.orjson.loads", loads)
    run = run_variables(input=b"input", metadata="metadata", workflow_run_id="0198")
    assert evaluate_bool("workflow_run_id != ''", run)
    assert parsed == []
    seen = [parent_variables(run, output) for output in (b"one", b"two")]
    for each in seen * 3:
        assert evaluate_bool("output.a == input.a", each)
    assert sorted(parsed, key=str) == [b"input", b"one", b"two"]


def test_data_that_is_no_json_fails_the_expression() -> None:
    with pytest.raises(ExpressionFailed, match=r"^the data is no JSON: "):
        evaluate_bool("input.a == 1", Variables({"input": Json(b"{")}))


@pytest.mark.parametrize(
    "expression",
    [
        "input.list.all(x, input.list.all(y, input.list.all(z, x + y + z >= 0)))",
        "input.list.all(x, input.map[string(x)] == x)",
        "size(input.list.filter(x, x > 3)) == 1",
        "size(input.list.map(x, x)) == 1",
        "input.text.split('').all(x, input.text.split('').all(y, x == y))",
        "input.list.map(x, input.list).all(x, x.all(y, size(input.map) > y))",
        " || ".join(["size(input.map) < 5"] * 170),
        "input.text.matches('(x{300}){300}y') || input.text.matches('(x{300}){299}y')",
        "input.list.all(x, size(')' + r')\\' + \"\\\")\") > 0 && input.list.all(y, size(input.map) > 0))",
    ],
)
def test_what_could_take_for_ever_is_not_begun(expression: str) -> None:
    numbers = list(range(5000))
    data = {"input": {"list": numbers, "map": {str(n): n for n in range(30_000)}, "text": "x" * 100_000}}
    before = time.perf_counter()
    with pytest.raises(ExpressionFailed, match=r"^it could take too long over this data: "):
        evaluate_bool(expression, data)
    assert time.perf_counter() - before < 1


@pytest.mark.parametrize(
    "expression",
    [
        "input.items.exists(i, i.tags.exists(t, t == 'tag 7'))",
        "input.items.all(i, i.n >= 0 && i.n < 1000) && size(input.items) == 500",
        "input.items.filter(i, i.n > 3).map(i, i.n).exists(n, n == 4)",
    ],
)
def test_loops_over_usual_data_are_fine(expression: str) -> None:
    items = [{"n": n, "tags": [f"tag {n + i}" for i in range(5)]} for n in range(500)]
    assert evaluate_bool(expression, {"input": {"items": items}})


def test_a_text_that_would_grow_without_bound_fails() -> None:
    data = {"input": {"text": "x" * 100_000, "list": ["x" * 1000] * 10_000}}
    for expression in ("input.text.replace('x', input.text) == ''", "input.list.join('') == ''"):
        with pytest.raises(ExpressionFailed, match="characters is too long"):
            evaluate_bool(expression, data)
    assert evaluate_bool("size(input.text.replace('x', 'yy', 10)) == 100010", data)


def test_a_panic_within_the_library_ends_the_evaluation_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    def panic(*_: object) -> None:
        raise PanicException("index out of range")

    monkeypatch.setattr("treadle.engine.cel.Variables.context", panic)
    with pytest.raises(ExpressionFailed, match=r"^index out of range$"):
        evaluate_bool("input.panic", DATA)
