"""What commands print: results on stdout in the form that was asked for, everything else on stderr."""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from enum import StrEnum
from typing import Any

from treadle.cli.exits import CommandError


class Output(StrEnum):
    """The value of `-o`."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


_output: ContextVar[Output] = ContextVar("_output", default=Output.TABLE)


def use_output(output: Output) -> None:
    """Remember the form asked for: a failure is then reported in the same one."""
    _output.set(output)


def note(text: str) -> None:
    """Say something to the person at the terminal, apart from the result."""
    print(text, file=sys.stderr, flush=True)


def paint(text: str, style: str) -> str:
    """The text in a colour (or bold) of `rich`'s names, where colours are welcome."""
    codes = {"green": "32", "red": "31", "yellow": "33", "cyan": "36", "blue": "34", "bold": "1"}
    if style not in codes or "NO_COLOR" in os.environ or not sys.stdout.isatty():
        return text
    return f"\x1b[{codes[style]}m{text}\x1b[0m"


def say_failure(failure: CommandError) -> None:
    if _output.get() is Output.TABLE:
        note(f"treadle: {failure.message}")
        if failure.hint:
            note(f"  try: {failure.hint}")
    else:
        note(json.dumps({"code": failure.code.name.lower(), "message": failure.message, "hint": failure.hint}))


def print_json(value: Any, output: Output) -> None:
    """One JSON value on stdout: indented for `json`, on one line for `jsonl`."""
    print(json.dumps(value, indent=2 if output is Output.JSON else None, ensure_ascii=False))


def print_rows(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], output: Output) -> None:
    """Rows of plain values under their column names, in the form asked for.

    A table has only `columns`; JSON has all that the rows hold.
    """
    if output is Output.JSONL:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    elif output is Output.JSON:
        print(json.dumps(list(rows), indent=2, ensure_ascii=False))
    else:
        on_terminal = sys.stdout.isatty()
        cells = [[_cell(row.get(name), short=on_terminal) for name in columns] for row in rows]
        (_print_rich_table if on_terminal else _print_plain_table)(columns, cells)


def _cell(value: Any, *, short: bool) -> str:
    if value is None:
        return ""
    if short and isinstance(value, str) and _is_time(value):
        return _short_time(value)
    return plain_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def plain_line(text: str) -> str:
    """The text on one line: a user's text may hold anything, also sequences that drive a terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


_is_time = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z").fullmatch


def _short_time(text: str) -> str:
    """A moment as the clock on the wall shows it; with the date when that is another day."""
    from datetime import datetime

    moment = datetime.fromisoformat(text).astimezone()
    today = moment.date() == datetime.now().astimezone().date()
    return moment.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def _print_plain_table(columns: Sequence[str], rows: list[list[str]]) -> None:
    widths = [max([len(name), *(len(row[at]) for row in rows)]) for at, name in enumerate(columns)]
    for row in [[name.upper() for name in columns], *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


STATUS_STYLES = {
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "yellow",
    "RUNNING": "cyan",
    "QUEUED": "blue",
    "SKIPPED": "bold",
}


# What a narrow terminal may cut, in the order in which room is given; half an id is of no use to anyone.
_CUTTABLE = ("task", "error")
_GAP = 2


def _print_rich_table(columns: Sequence[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    widths = {name: max([len(name), *(len(row[at]) for row in rows)]) for at, name in enumerate(columns)}
    room = console.width - sum(width + _GAP for name, width in widths.items() if name not in _CUTTABLE)
    for name in (name for name in _CUTTABLE if name in widths):
        share = room // 2 if name == "task" else room
        widths[name] = max(len(name), min(widths[name], share - _GAP))
        room -= widths[name] + _GAP
    table = Table(box=None, header_style="bold", padding=(0, _GAP, 0, 0), pad_edge=False)
    for name in columns:
        table.add_column(name.upper(), no_wrap=True, width=widths[name])
    for row in rows:
        table.add_row(*(Text(cell, style=STATUS_STYLES.get(cell, "")) for cell in row))
    console.print(table)
