"""Columns as parameters: whatever goes in comes out of a real server, element by element."""

import math
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.thread import PlainConnection, plain_connection
from treadle.storage import arrays

EXAMPLES = settings(max_examples=60, deadline=None)
IDS = st.uuids().map(str)
TIMES = st.floats(0, 4e9).map(lambda at: math.floor(at * 1e6) / 1e6)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@pytest.fixture(scope="module")
def server(postgres_url: str) -> Iterator[PlainConnection]:
    with plain_connection(postgres_url) as connection:
        yield connection


def column(server: PlainConnection, expression: str, *args: object) -> list[object]:
    rows = server.fetch(f"SELECT v FROM unnest({expression}) WITH ORDINALITY AS t (v, n) ORDER BY n", *args)
    return [str(row["v"]) if isinstance(row["v"], uuid.UUID) else row["v"] for row in rows]


@EXAMPLES
@given(values=st.lists(IDS))
def test_ids(server: PlainConnection, values: list[str]) -> None:
    assert column(server, "$1::text::uuid[]", arrays.ids(values)) == values


@EXAMPLES
@given(values=st.lists(st.integers(-(1 << 63), (1 << 63) - 1)))
def test_numbers(server: PlainConnection, values: list[int]) -> None:
    assert column(server, "$1::text::bigint[]", arrays.numbers(values)) == values


@EXAMPLES
@given(values=st.lists(st.none() | TIMES))
def test_times_to_the_microsecond(server: PlainConnection, values: list[float | None]) -> None:
    rows = server.fetch(
        "SELECT to_timestamp(v) AS v FROM unnest($1::text::float8[]) WITH ORDINALITY AS t (v, n) ORDER BY n",
        arrays.times(values),
    )
    found = [-1.0 if row["v"] is None else row["v"].timestamp() for row in rows]
    assert found == pytest.approx([-1.0 if at is None else at for at in values], rel=0, abs=2e-6)


@EXAMPLES
@given(values=st.lists(st.none() | TEXTS))
def test_texts_beside_another_column(server: PlainConnection, values: list[str | None]) -> None:
    rows = server.fetch(
        "SELECT v FROM unnest($1::text::integer[], $2::text[]) WITH ORDINALITY AS t (i, v, n) ORDER BY n",
        arrays.numbers(range(len(values))),
        arrays.texts(values),
    )
    assert [row["v"] for row in rows] == values
