"""`treadle dev`: an engine and a worker in one process tree, for the time of writing code."""

from pathlib import Path
from typing import Annotated

import typer

from treadle.cli.extras import require_server
from treadle.cli.options import DatabaseUrl, DataDir, make_settings


def dev(
    target: Annotated[
        str | None, typer.Argument(metavar="[MODULE:APP]", help="The app to run; without it, one is looked for here.")
    ] = None,
    *,
    slots: Annotated[int, typer.Option(min=1, help="How many tasks may run at once.")] = 100,
    reload: Annotated[bool, typer.Option(help="Start the worker anew when a Python file changes.")] = True,
    watch: Annotated[
        list[Path] | None,
        typer.Option(help="Folder to watch (repeatable) [default: this one].", exists=True, file_okay=False),
    ] = None,
    grpc_port: Annotated[int | None, typer.Option(min=0, max=65535, help="[default: 7077]")] = None,
    http_port: Annotated[int | None, typer.Option(min=0, max=65535, help="[default: 8080]")] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Run an engine and a worker until Ctrl-C, and say how each run ended."""
    require_server("dev")
    import asyncio

    from treadle.cli.dev.find import find_target
    from treadle.cli.dev.session import DevSession

    settings = make_settings(data_dir=data_dir, database_url=database_url, grpc_port=grpc_port, http_port=http_port)
    session = DevSession(
        settings,
        target=target or find_target(Path.cwd()),
        slots=slots,
        watched=(watch or [Path.cwd()]) if reload else [],
    )
    asyncio.run(session.run())
