"""`treadle bench`: how fast is this engine on this machine."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from treadle.cli.exits import CommandError, Exit
from treadle.cli.extras import require_server


class Scenario(StrEnum):
    """What to measure."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"
    DRAIN = "drain"


class Client(StrEnum):
    """Whose SDK runs the tasks and asks for the runs."""

    TREADLE = "treadle"
    HATCHET = "hatchet"


_DEFAULT_TASKS = {Scenario.THROUGHPUT: 50_000, Scenario.LATENCY: 500, Scenario.DRAIN: 50_000}
_HATCHET_TASKS = {Scenario.THROUGHPUT: 5_000, Scenario.LATENCY: 200, Scenario.DRAIN: 5_000}


def bench(
    scenario: Annotated[
        Scenario,
        typer.Argument(
            help="throughput: start no-op tasks and await them, as fast as it goes. "
            "latency: one at a time, on an idle engine. drain: work off a backlog."
        ),
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    tasks: Annotated[int | None, typer.Option(min=1, help="How many [default: 50000; latency: 500].")] = None,
    client: Annotated[Client, typer.Option(help="Whose SDK to use for worker and client.")] = Client.TREADLE,
    slots: Annotated[int, typer.Option(min=1, help="Tasks that the worker runs at once.")] = 1000,
    window: Annotated[int, typer.Option(min=1, help="Most runs awaited at once, in throughput.")] = 8000,
    data_dir: Annotated[
        Path | None, typer.Option(help="Parent of the fresh data folder: choose the disk.", file_okay=False)
    ] = None,
    database_url: Annotated[
        str | None, typer.Option(help="An empty database to use instead of an embedded one.")
    ] = None,
) -> None:
    """Start an engine on a fresh database, a worker and a client as processes of their own, and measure them.

    The database writes safely (fsync on), every run is stored and awaited, and the figures count all processes.
    """
    require_server("bench")
    if client is Client.HATCHET:
        from importlib.util import find_spec

        if find_spec("hatchet_sdk") is None:
            raise CommandError(Exit.USAGE, "--client hatchet needs the official SDK", hint="pip install hatchet-sdk")
    from treadle.cli.bench.driver import BenchPlan, run_bench
    from treadle.cli.bench.report import print_report

    usual = _HATCHET_TASKS if client is Client.HATCHET else _DEFAULT_TASKS
    plan = BenchPlan(
        scenario=scenario.value,
        client=client.value,
        tasks=tasks or usual[scenario],
        slots=slots,
        window=window,
        parent_dir=data_dir,
        database_url=database_url,
    )
    print_report(run_bench(plan), as_json=as_json)
