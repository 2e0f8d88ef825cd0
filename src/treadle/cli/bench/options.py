"""Options that the scenarios share, and the plan that is made of them."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treadle.cli.exits import CommandError, Exit
from treadle.cli.extras import require_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.cli.bench.plan import Plan


class Client(StrEnum):
    """Whose SDK runs the tasks and asks for the runs."""

    TREADLE = "treadle"
    HATCHET = "hatchet"


class Shape(StrEnum):
    """What a workflow looks like."""

    CHAIN = "chain"
    DIAMOND = "diamond"
    FAN = "fan"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Tasks = Annotated[int, typer.Option("--tasks", min=1, help="How many.")]
MaybeTasks = Annotated[int | None, typer.Option("--tasks", min=1, help="How many.")]
Whose = Annotated[Client, typer.Option("--client", help="Whose SDK to use for worker and client.")]
Slots = Annotated[int, typer.Option("--slots", min=1, help="Tasks that the worker runs at once, in each process.")]
Processes = Annotated[int, typer.Option("--processes", min=1, help="Processes of the worker.")]
PayloadBytes = Annotated[
    int, typer.Option("--payload-bytes", min=0, help="Size of each input and each result; 0: a number.")
]
Tenants = Annotated[int, typer.Option("--tenants", min=1, help="Tenants among which the tasks are spread.")]
Engines = Annotated[int, typer.Option("--engines", min=1, help="Engines on the one database.")]
Window = Annotated[int, typer.Option("--window", min=1, help="Most runs awaited at once.")]
Folder = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Parent of the fresh data folder: choose the disk.", file_okay=False),
]
DatabaseUrl = Annotated[
    str | None, typer.Option("--database-url", help="An empty database to use instead of an embedded one.")
]


def report(measure: "Callable[..., dict[str, Any]]", plan: "Plan", *, as_json: bool, **more: Any) -> None:
    """Run a scenario and print what it found."""
    import signal
    import sys

    from treadle.cli.bench.report import print_report

    # Asked to end, leave nothing behind: neither processes nor the folder.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    print_report(measure(plan, **more), as_json=as_json)


def make_plan(scenario: str, **given: Any) -> "Plan":
    """The plan of a scenario; refuses what does not go together."""
    require_server("bench")
    from treadle.cli.bench.plan import Plan

    if given.get("client") == Client.HATCHET:
        _check_hatchet(given)
    return Plan(scenario=scenario, **given)


def _check_hatchet(given: dict[str, Any]) -> None:
    from importlib.util import find_spec

    if find_spec("hatchet_sdk") is None:
        raise CommandError(Exit.USAGE, "--client hatchet needs the official SDK", hint="pip install hatchet-sdk")
    for name, usual in (("processes", 1), ("tenants", 1), ("payload_bytes", 0)):
        if given.get(name, usual) != usual:
            raise CommandError(Exit.USAGE, f"--{name.replace('_', '-')} is not for --client hatchet")
