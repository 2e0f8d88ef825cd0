"""`treadle trigger`: start a run of a task, and wait for it if asked."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.exits import CommandError, Exit
from treadle.cli.options import Form
from treadle.cli.output import Output, note, print_json, use_output
from treadle.cli.values import read_duration, read_input, read_pairs

if TYPE_CHECKING:
    from treadle.wire.gen.treadle.v1 import runs_pb2


def trigger(
    name: Annotated[str, typer.Argument(help="The task to run.")],
    *,
    values: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", help="A JSON object, @file, - for stdin, or key=value (repeatable)."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the result and print it.")] = False,
    timeout: Annotated[
        str | None, typer.Option(help="How long to wait, e.g. 90s or 5m. Implies --wait; exit code 6 when over.")
    ] = None,
    priority: Annotated[int | None, typer.Option(min=1, max=3, help="1 low, 2 middle, 3 high.")] = None,
    meta: Annotated[list[str] | None, typer.Option(help="Metadata as key=value (repeatable).")] = None,
    output: Form = Output.TABLE,
) -> None:
    """Start a run and print its id; with --wait, print what the task returned."""
    use_output(output)
    patience = None if timeout is None else read_duration(timeout, "--timeout")
    data = read_input(values or [])
    metadata = read_pairs(meta or [], "--meta")

    from treadle.cli.engine import connect
    from treadle.wire.gen.treadle.v1 import runs_pb2

    new = runs_pb2.NewRun(
        task=name, input=data, priority=priority or 0, metadata=json.dumps(metadata) if metadata else ""
    )
    with connect() as engine:
        run_id = engine.start(new)
        if not wait and patience is None:
            _print_started(run_id, output)
            return
        if output is Output.TABLE:
            note(f"run {run_id}")
        _print_result(engine.result(run_id, patience), output)


def _print_started(run_id: str, output: Output) -> None:
    if output is Output.TABLE:
        print(run_id)
    else:
        print_json({"id": run_id}, output)


def _print_result(result: "runs_pb2.RunResult", output: Output) -> None:
    """The output on stdout; a run that failed or was cancelled ends the command with its own exit code."""
    from treadle.model.states import RunStatus

    status = RunStatus(result.status)
    value = json.loads(result.output) if result.output else None
    if output is not Output.TABLE:
        print_json({"id": result.run_id, "status": status.name, "output": value, "error": result.error or None}, output)
    elif status is RunStatus.COMPLETED:
        print_json(value, Output.JSON)
    if status is RunStatus.CANCELLED:
        raise CommandError(Exit.CANCELLED, f"run {result.run_id} was cancelled")
    if status is RunStatus.FAILED:
        raise CommandError(Exit.RUN_FAILED, f"run {result.run_id} failed: {result.error.rstrip()}")
