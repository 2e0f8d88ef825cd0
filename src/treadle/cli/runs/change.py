"""`treadle runs cancel` and `treadle runs replay`: by ids, or by filter with a look before the leap."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.exits import CommandError, Exit
from treadle.cli.options import Form
from treadle.cli.output import Output, note, print_json, use_output
from treadle.cli.runs.filters import Since, Statuses, Tasks, Until, list_request, selection_of
from treadle.cli.values import read_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.cli.engine import Engine
    from treadle.wire.gen.treadle.v1 import runs_pb2

_SAMPLE = 5
_COUNT_UP_TO = 1000

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Runs by id; or use the filters.")]
Meta = Annotated[list[str] | None, typer.Option("--meta", help="Metadata as key=value (repeatable).")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Children = Annotated[bool, typer.Option("--children", help="Also what these runs have spawned, and so on.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def cancel(
    ids: Ids = None,
    *,
    status: Statuses = None,
    task: Tasks = None,
    since: Since = None,
    until: Until = None,
    meta: Meta = None,
    children: Children = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Form = Output.TABLE,
) -> None:
    """Cancel runs that have not ended. Running ones are told to stop."""
    use_output(output)
    # Ended runs cannot be cancelled: without --status, look only at those that can.
    chosen = status or (["queued", "running"] if task or since or until or meta else None)
    selection = _read_selection(ids, chosen, task, since, until, meta)
    selection.children = children
    _change("cancel", "cancelled", lambda engine: engine.cancel, selection, yes=yes, dry_run=dry_run, output=output)


def replay(
    ids: Ids = None,
    *,
    status: Statuses = None,
    task: Tasks = None,
    since: Since = None,
    until: Until = None,
    meta: Meta = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Form = Output.TABLE,
) -> None:
    """Run ended runs again, with the same input and fresh attempts.

    Of a workflow run that failed, what had completed is kept; of one that completed, everything runs again. A task of a
    workflow run takes along those that wait for it.
    """
    use_output(output)
    selection = _read_selection(ids, status, task, since, until, meta)
    _change("replay", "replayed", lambda engine: engine.replay, selection, yes=yes, dry_run=dry_run, output=output)


def _read_selection(
    ids: list[str] | None,
    status: list[str] | None,
    task: list[str] | None,
    since: str | None,
    until: str | None,
    meta: list[str] | None,
) -> "runs_pb2.SelectRuns":
    from treadle.wire.gen.treadle.v1 import runs_pb2

    filtered = bool(status or task or since or until or meta)
    if bool(ids) == filtered:
        raise CommandError(Exit.USAGE, "give ids, or filters such as --status and --task")
    if ids:
        return runs_pb2.SelectRuns(ids=ids)
    request = list_request(statuses=status, tasks=task, since=since, until=until)
    return selection_of(request, read_pairs(meta or [], "--meta"))


def _change(
    verb: str,
    done: str,
    move: "Callable[[Engine], Callable[[runs_pb2.SelectRuns], list[str]]]",
    selection: "runs_pb2.SelectRuns",
    *,
    yes: bool,
    dry_run: bool,
    output: Output,
) -> None:
    from treadle.cli.engine import connect

    with connect() as engine:
        if dry_run or (selection.HasField("filter") and not yes):
            count = _show_what_matches(engine, selection, verb)
            if dry_run or count == 0:
                return
            _ask(verb)
        changed = move(engine)(selection)
    if output is Output.TABLE:
        for run_id in changed:
            print(run_id)
        note(f"{len(changed)} {done}")
    else:
        print_json({done: changed}, output)


def _show_what_matches(engine: "Engine", selection: "runs_pb2.SelectRuns", verb: str) -> int:
    from treadle.cli.runs.show import summary_row
    from treadle.wire.gen.treadle.v1 import runs_pb2

    if not selection.HasField("filter"):
        note(f"would {verb} {len(selection.ids)} runs")
        return len(selection.ids)
    chosen = selection.filter
    request = runs_pb2.ListRunsRequest(statuses=chosen.statuses, tasks=chosen.tasks)
    if chosen.HasField("since"):
        request.since.CopyFrom(chosen.since)
    if chosen.HasField("until"):
        request.until.CopyFrom(chosen.until)
    rows = [summary_row(run) for run in engine.list_runs(request, _COUNT_UP_TO)]
    if chosen.metadata:
        wanted = chosen.metadata.items()
        rows = [row for row in rows if wanted <= (row["metadata"] or {}).items()]
    more = " or more" if len(rows) == _COUNT_UP_TO else ""
    note(f"{len(rows)}{more} runs match" + (":" if rows else ""))
    for row in rows[:_SAMPLE]:
        note(f"  {row['id']}  {row['task']}  {row['status']}")
    if len(rows) > _SAMPLE:
        note("  ...")
    return len(rows)


def _ask(verb: str) -> None:
    if not sys.stdin.isatty():
        raise CommandError(Exit.USAGE, f"not a terminal: say --yes to {verb} them")
    if not typer.confirm(f"{verb} them?", err=True):
        raise CommandError(Exit.CANCELLED, "nothing was done")
