"""What commands print: results on stdout in the form that was asked for, everything else on stderr."""

import json
import sys
from contextvars import ContextVar
from enum import StrEnum

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


def say_failure(failure: CommandError) -> None:
    if _output.get() is Output.TABLE:
        note(f"treadle: {failure.message}")
        if failure.hint:
            note(f"  try: {failure.hint}")
    else:
        note(
            json.dumps({"code": failure.code.name.lower(), "message": failure.message, "hint": failure.hint})
        )
