"""Inputs and outputs as JSON: types in, types out, and clear errors for what cannot travel."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from typing_extensions import TypedDict

from treadle.model.errors import InvalidInput
from treadle.sdk.codec import BadOutput, InputCodec, OutputCodec, resolve_hints


class Model(BaseModel):
    n: int
    when: datetime | None = None


class Ratio(BaseModel):
    value: float


@dataclass
class Point:
    x: float
    y: float = 0.0


class Options(TypedDict, total=False):
    fast: bool


class Colour(Enum):
    RED = "red"


def codec_of(function: Any, skip: int = 0) -> InputCodec:
    return InputCodec(function.__name__, function, skip, resolve_hints(function))


def round_trip(function: Any, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    codec = codec_of(function)
    return codec.decode(codec.encode(codec.bind(args, kwargs)))


def job(
    model: Model, point: Point, options: Options, colour: Colour, day: date, price: Decimal, key: UUID, tags: set[str]
) -> None: ...


def test_every_kind_of_type_comes_back_as_it_was() -> None:
    values: dict[str, Any] = {
        "model": Model(n=1, when=datetime(2026, 1, 2, tzinfo=UTC)),
        "point": Point(1.5),
        "options": {"fast": True},
        "colour": Colour.RED,
        "day": date(2026, 1, 2),
        "price": Decimal("1.10"),
        "key": UUID(int=5),
        "tags": {"a", "b"},
    }
    assert round_trip(job, **values) == ((), values)


def test_values_are_converted_where_the_type_allows() -> None:
    def convert(model: Model, day: date, count: int) -> None: ...

    codec = codec_of(convert)
    data = codec.encode(codec.bind((), {"model": {"n": 1}, "day": "2026-01-02", "count": "3"}))
    assert json.loads(data) == {"model": {"n": 1, "when": None}, "day": "2026-01-02", "count": 3}


def test_a_value_of_the_wrong_type_names_task_and_field() -> None:
    codec = codec_of(job)
    with pytest.raises(InvalidInput) as caught:
        codec_of(wants_model).encode({"model": {"n": "many"}})
    assert caught.value.field == "wants_model.model.n"
    with pytest.raises(TypeError, match="job: missing a required argument: 'model'"):
        codec.bind((), {})
    with pytest.raises(TypeError, match="unexpected keyword argument 'modle'"):
        codec_of(wants_model).bind((Model(n=1),), {"modle": 1})


def wants_model(model: Model) -> None: ...


def test_defaults_stay_with_the_worker() -> None:
    def job(a: int, b: int = 2) -> None: ...

    codec = codec_of(job)
    assert codec.encode(codec.bind((1,), {})) == b'{"a":1}'
    assert codec.decode(b'{"a":1}') == ((), {"a": 1})
    assert codec.decode(b'{"a":1,"newer":true}') == ((), {"a": 1})


def test_no_parameters_cost_nothing() -> None:
    def job() -> None: ...

    codec = codec_of(job)
    assert codec.encode(codec.bind((), {})) == b"{}"
    assert codec.decode(b"{}") == ((), {})
    assert codec.decode(b'{"x": 1}') == ((), {})


def test_positional_only_and_further_keywords() -> None:
    def job(a: int, b: int = 5, /, c: int = 7, **more: float) -> None: ...

    codec = codec_of(job)
    data = codec.encode(codec.bind((1,), {"c": 2, "x": 1.5}))
    assert json.loads(data) == {"a": 1, "c": 2, "x": 1.5}
    assert codec.decode(data) == ((1,), {"c": 2, "x": 1.5})
    assert codec.decode(codec.encode(codec.bind((1, 2), {}))) == ((1, 2), {})


def test_what_cannot_be_declared() -> None:
    def starred(*numbers: int) -> None: ...
    def strange(file: Thread) -> None: ...

    with pytest.raises(TypeError, match=r"\*numbers has no name"):
        codec_of(starred)
    with pytest.raises(TypeError, match="strange: file of type Thread cannot travel"):
        codec_of(strange)


class Thread:
    """Something pydantic knows nothing about."""


def test_annotations_that_cannot_be_resolved_say_so() -> None:
    def job(x: Missing) -> None: ...  # type: ignore[name-defined] # noqa: F821 - the point of the test

    with pytest.raises(TypeError, match="must be importable at run time"):
        resolve_hints(job)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("annotation", "wrap"),
    [
        (float, lambda x: x),
        (Any, lambda x: x),
        (list[float], lambda x: [1.0, x]),
        (dict[str, Any], lambda x: {"a": [{"b": (x,)}]}),
        (Ratio, lambda x: Ratio(value=x)),
        (Point, lambda x: Point(1.0, x)),
    ],
)
def test_no_nan_leaves_the_worker(bad: float, annotation: Any, wrap: Any) -> None:
    with pytest.raises(BadOutput, match="NaN or infinity"):
        OutputCodec("job", annotation).encode(wrap(bad))


def test_nan_in_an_input_is_refused_too() -> None:
    def job(x: float) -> None: ...

    with pytest.raises(InvalidInput, match="NaN"):
        codec_of(job).encode({"x": math.nan})


def test_nul_is_refused_but_its_name_is_not() -> None:
    codec = OutputCodec("job", str)
    with pytest.raises(BadOutput, match="NUL"):
        codec.encode("a\x00b")
    assert codec.decode(codec.encode("a\\u0000b")) == "a\\u0000b"


def test_half_characters_are_refused() -> None:
    with pytest.raises(BadOutput, match="cannot be JSON"):
        OutputCodec("job", str).encode("\ud800")


def test_outputs_must_be_what_is_declared() -> None:
    with pytest.raises(BadOutput, match="not the Model it declares"):
        OutputCodec("job", Model).encode("text")
    with pytest.raises(BadOutput, match="cannot be JSON"):
        OutputCodec("job", Any).encode(object())
    assert OutputCodec("job", Model).encode({"n": 1}) == b'{"n":1,"when":null}'
    assert OutputCodec("job", type(None)).encode(None) == b"null"


def test_a_stored_output_of_another_shape_names_the_place() -> None:
    with pytest.raises(InvalidInput, match=r"job result\.n: is not the declared Model"):
        OutputCodec("job", Model).decode(b'{"n": "x"}')


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])), inner)
    ),
    max_leaves=8,
)


@given(json_values)
def test_any_json_value_survives(value: Any) -> None:
    codec = OutputCodec("job", Any)
    assert codec.decode(codec.encode(value)) == value


def test_schema_of_the_input() -> None:
    def job(a: int, b: str = "x") -> None: ...

    schema = codec_of(job).json_schema()
    assert schema is not None
    assert schema["required"] == ["a"]
    assert set(schema["properties"]) == {"a", "b"}
