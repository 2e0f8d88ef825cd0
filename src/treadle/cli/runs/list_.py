"""`treadle runs list`."""

from typing import Annotated

import typer

from treadle.cli.options import Form
from treadle.cli.output import Output, note, print_rows, use_output
from treadle.cli.runs.filters import Since, Statuses, Tasks, Until, list_request
from treadle.cli.runs.show import COLUMNS, summary_row


def list_runs(
    *,
    status: Statuses = None,
    task: Tasks = None,
    since: Since = None,
    until: Until = None,
    parent: Annotated[str | None, typer.Option(help="Only children of this run.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    output: Form = Output.TABLE,
) -> None:
    """List runs, newest first."""
    use_output(output)
    request = list_request(statuses=status, tasks=task, since=since, until=until, parent=parent)

    from treadle.cli.engine import connect

    with connect() as engine:
        found = engine.list_runs(request, limit)
        if output is Output.TABLE:
            rows = [summary_row(run) for run in found]
            print_rows(COLUMNS, rows, output)
            if len(rows) == limit:
                note(f"the newest {limit}; there may be more (--limit)")
        else:
            print_rows(COLUMNS, (summary_row(run) for run in found), output)
