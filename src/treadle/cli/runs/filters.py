"""The options that choose runs, and the messages made from them."""

from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.exits import CommandError, Exit
from treadle.cli.values import read_time

if TYPE_CHECKING:
    from treadle.wire.gen.treadle.v1 import runs_pb2

Statuses = Annotated[
    list[str] | None,
    typer.Option("--status", help="queued, running, completed, failed or cancelled (repeatable)."),
]
Tasks = Annotated[list[str] | None, typer.Option("--task", help="Name of a task (repeatable).")]
Since = Annotated[
    str | None, typer.Option(help="Created after: a time such as 2026-01-31T12:00, or how long ago, such as 2h.")
]
Until = Annotated[str | None, typer.Option(help="Created before: as --since.")]


def read_statuses(names: list[str]) -> "list[runs_pb2.RunStatus.ValueType]":
    from treadle.model.states import RunStatus
    from treadle.wire.convert import TREADLE_STATUS

    # A run is never skipped: that is for the tasks of one.
    known = {status.name: number for status, number in TREADLE_STATUS.items() if status is not RunStatus.SKIPPED}
    numbers = []
    for name in (part for text in names for part in text.split(",")):
        number = known.get(name.strip().upper())
        if number is None:
            choices = ", ".join(name.lower() for name in known)
            raise CommandError(Exit.USAGE, f"--status: {name!r} is none of {choices}")
        numbers.append(number)
    return numbers


def list_request(
    *,
    statuses: list[str] | None = None,
    tasks: list[str] | None = None,
    since: str | None = None,
    until: str | None = None,
    parent: str | None = None,
) -> "runs_pb2.ListRunsRequest":
    from treadle.wire.gen.treadle.v1 import runs_pb2

    request = runs_pb2.ListRunsRequest(
        statuses=read_statuses(statuses or []), tasks=tasks or [], parent_id=parent or ""
    )
    if since is not None:
        request.since.FromDatetime(read_time(since, "--since"))
    if until is not None:
        request.until.FromDatetime(read_time(until, "--until"))
    return request


def selection_of(request: "runs_pb2.ListRunsRequest", metadata: dict[str, str]) -> "runs_pb2.SelectRuns":
    """The same filter, as the calls that change runs take it."""
    from treadle.wire.gen.treadle.v1 import runs_pb2

    chosen = runs_pb2.RunFilter(statuses=request.statuses, tasks=request.tasks, metadata=metadata)
    if request.HasField("since"):
        chosen.since.CopyFrom(request.since)
    if request.HasField("until"):
        chosen.until.CopyFrom(request.until)
    return runs_pb2.SelectRuns(filter=chosen)
