import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.model.durations import MAX_DURATION_MS, format_duration, parse_duration_ms
from treadle.model.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0s", 0),
        ("0h", 0),
        ("5s", 5000),
        ("1h30m", 5_400_000),
        ("1.5h", 5_400_000),
        (".5s", 500),
        ("5.s", 5000),
        ("250ms", 250),
        ("0.1s0.2s", 300),
        ("1m1m", 120_000),
        ("0.0001ms", 1),
        ("1.0001s", 1001),
    ],
)
def test_parts_are_added_up(text: str, ms: int) -> None:
    assert parse_duration_ms(text, "timeout") == ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "-5s",
        "+5s",
        "5 s",
        "s",
        ".s",
        "5us",
        "5ns",
        "1d",
        "1w",
        "1y",
        "5S",
        "5s\n",
        "1e3s",
        "٣s",
        "1.2.3s",
        "9" * 20 + "h",
        "1s" * 100,
    ],
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape("tasks[2].timeout: ")):
        parse_duration_ms(text, "tasks[2].timeout")


@given(st.integers(0, MAX_DURATION_MS))
def test_what_is_written_reads_back(ms: int) -> None:
    assert parse_duration_ms(format_duration(ms), "x") == ms


_part = st.tuples(st.decimals(0, 10_000, places=4, allow_nan=False), st.sampled_from(["ms", "s", "m", "h"]))


@given(st.lists(_part, min_size=1, max_size=5))
def test_the_sum_is_exact_and_rounded_up(parts: list[tuple[object, str]]) -> None:
    unit_ms = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
    exact = sum((Fraction(str(number)) * unit_ms[unit] for number, unit in parts), Fraction())
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert parse_duration_ms(text, "x") == -(-exact.numerator // exact.denominator)


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0s"), (90_000, "1m30s"), (60_000, "1m"), (1500, "1s500ms"), (3_600_001, "1h1ms")]
)
def test_the_short_form(ms: int, text: str) -> None:
    assert format_duration(ms) == text


def test_a_negative_duration_is_a_bug() -> None:
    with pytest.raises(ValueError, match="no sign"):
        format_duration(-1)
