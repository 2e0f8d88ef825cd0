"""Tables for people, JSON for programs, and nothing that drives the terminal."""

import json
import re
import sys
from typing import Any

import pytest

from treadle.cli.exits import CommandError, Exit
from treadle.cli.output import Output, plain_line, print_rows, say_failure, use_output

ROWS: list[dict[str, Any]] = [{"id": "1", "task": "resize", "more": {"k": 1}}, {"id": "22", "task": None, "more": None}]


def test_a_table_is_aligned_and_has_no_colour(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(("id", "task"), ROWS, Output.TABLE)
    assert capsys.readouterr().out == "ID  TASK\n1   resize\n22\n"


def test_an_empty_table_has_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(("id", "task"), [], Output.TABLE)
    assert capsys.readouterr().out == "ID  TASK\n"


def test_json_has_all_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(("id",), iter(ROWS), Output.JSON)
    assert json.loads(capsys.readouterr().out) == ROWS
    print_rows(("id",), iter(ROWS), Output.JSONL)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == ROWS


def test_a_text_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert plain_line("a\x1b[31mb\r\nc\x07\u202e") == "a [31mb  c  "
    print_rows(("id",), [{"id": "\x1b]0;title\x07"}], Output.TABLE)
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("output", [Output.TABLE, Output.JSON])
def test_failures_follow_the_form_asked_for(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    use_output(output)
    try:
        say_failure(CommandError(Exit.NOT_FOUND, "there is no run 7", hint="treadle runs list"))
    finally:
        use_output(Output.TABLE)
    captured = capsys.readouterr()
    assert captured.out == ""
    if output is Output.TABLE:
        assert captured.err == "treadle: there is no run 7\n  try: treadle runs list\n"
    else:
        assert json.loads(captured.err) == {
            "code": "not_found",
            "message": "there is no run 7",
            "hint": "treadle runs list",
        }


def test_a_terminal_sees_whole_ids_and_short_times(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    run_id = "01a20c5b-9434-7689-9ad7-4914732257b2"
    row = {
        "id": run_id,
        "task": "t" * 60,
        "status": "COMPLETED",
        "created": "2020-01-02T03:04:05.678Z",
        "error": "e" * 60,
    }
    print_rows(tuple(row), [row], Output.TABLE)
    head, line = capsys.readouterr().out.splitlines()
    assert "\x1b[3" not in head + line
    assert line.startswith(run_id)
    assert "COMPLETED" in line
    assert re.search(r"2020-01-0\d \d\d:\d4:05 ", line)
    assert len(line) <= 80
