"""`treadle runs get`."""

import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from treadle.cli.options import Form
from treadle.cli.output import Output, plain_line, print_json, print_rows, use_output
from treadle.cli.runs.show import TASK_COLUMNS, detail_row

_FACTS = (
    "id",
    "task",
    "status",
    "created",
    "started",
    "finished",
    "duration",
    "attempt",
    "retries_used",
    "priority",
    "worker_id",
    "parent_id",
    "run_id",
    "step",
    "metadata",
)


def get_run(
    run_id: Annotated[str, typer.Argument(metavar="ID", help="The run.")],
    *,
    output: Form = Output.TABLE,
) -> None:
    """Show one run: its facts, input, output or error, tasks if it has several, history and log."""
    use_output(output)

    from treadle.cli.engine import connect

    with connect() as engine:
        row = detail_row(engine.get(run_id))
    if output is Output.TABLE:
        _print_detail(row)
    else:
        print_json(row, output)


def _print_detail(row: dict[str, Any]) -> None:
    for name in _FACTS:
        value = row[name]
        if value is not None:
            print(f"{name.replace('_', ' '):<14}{value if isinstance(value, str) else json.dumps(value)}")
    if row["tasks"]:
        print("\ntasks")
        # Of an error the first line says what; all of it is shown with the task.
        first_lines = [task | {"error": (task["error"] or "").partition("\n")[0]} for task in row["tasks"]]
        print_rows(TASK_COLUMNS, first_lines, Output.TABLE)
    for name in ("input", "output"):
        if row[name] is not None:
            print(f"\n{name}\n{json.dumps(row[name], indent=2, ensure_ascii=False)}")
    _print_lines("error", (row["error"] or "").splitlines())
    _print_lines(
        "history",
        (
            # The first line says what; all of it is under "error", or in JSON.
            f"{event['at']}  #{event['attempt']}  {_of_task(row, event)}{event['kind']:<22}"
            f"{event['detail'].partition(chr(10))[0]}"
            for event in row["events"]
        ),
    )
    _print_lines(
        "log",
        (
            f"{line['at']}  #{line['attempt']}  {_of_task(row, line)}{line['level']:<8}{line['message']}"
            for line in row["logs"]
        ),
    )


def _of_task(row: dict[str, Any], entry: dict[str, Any]) -> str:
    """In a run of several tasks: the name of the one that an entry is about, as wide as the longest."""
    named = [task["name"] for task in row["tasks"]] + [event["task"] or "" for event in row["events"]]
    width = max(map(len, named), default=0)
    return f"{entry['task'] or '':<{width}}  " if width else ""


def _print_lines(title: str, lines: Iterable[str]) -> None:
    for at, line in enumerate(lines):
        if at == 0:
            print(f"\n{title}")
        print(plain_line(line).rstrip())
