"""What people type, read."""

import io
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from treadle.cli.exits import CommandError, Exit
from treadle.cli.values import read_duration, read_input, read_pairs, read_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("2d", 172_800),
        ("1d12h", 129_600),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert read_duration(text, "--x") == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "5 parsecs", "-", "d", "1e400", "nan"])
def test_a_bad_duration_names_the_option(text: str) -> None:
    with pytest.raises(CommandError, match="--x") as caught:
        read_duration(text, "--x")
    assert caught.value.code is Exit.USAGE


def test_times() -> None:
    assert read_time("2026-01-31T12:00:00+02:00", "--since") == datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert read_time("2026-01-31T12:00Z", "--since") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    local = datetime(2026, 1, 31).astimezone()
    assert read_time("2026-01-31", "--since") == local
    before = datetime.now(UTC)
    assert before <= read_time("2h", "--since") + timedelta(hours=2) <= datetime.now(UTC)
    with pytest.raises(CommandError, match="--since"):
        read_time("yesterday", "--since")


def test_pairs() -> None:
    assert read_pairs(["a=1", "b=x=y", "c="], "--meta") == {"a": "1", "b": "x=y", "c": ""}
    for bad in ("a", "=1"):
        with pytest.raises(CommandError, match="--meta"):
            read_pairs([bad], "--meta")


def test_an_input_is_passed_on_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_input([]) == b"{}"
    assert read_input(['{"a": 1.0}']) == b'{"a": 1.0}'
    (tmp_path / "in.json").write_text('{"b":2}')
    assert read_input([f"@{tmp_path / 'in.json'}"]) == b'{"b":2}'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"c":3}')))
    assert read_input(["-"]) == b'{"c":3}'


def test_pairs_make_an_input() -> None:
    made = read_input(["width=200", "path=a.png", 'tags=["x"]', "on=true", "text={not json"])
    assert json.loads(made) == {"width": 200, "path": "a.png", "tags": ["x"], "on": True, "text": "{not json"}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["[1]"], "JSON object"),
        (["7"], "JSON object"),
        (["{"], "not valid JSON"),
        (["@/does/not/exist"], "cannot read"),
        (["{}", "a=1"], "one JSON object"),
        (["=1"], "key=value"),
    ],
)
def test_a_bad_input_is_named(texts: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said) as caught:
        read_input(texts)
    assert caught.value.code is Exit.USAGE
