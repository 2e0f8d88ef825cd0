"""`treadle serve`: run an engine until it is told to stop."""

from pathlib import Path
from typing import Annotated

import typer

from treadle.cli.exits import CommandError, Exit
from treadle.cli.extras import require_server
from treadle.cli.options import DatabaseUrl, DataDir, make_settings
from treadle.cli.parent import end_with_parent


def serve(
    *,
    roles: Annotated[str | None, typer.Option(help="Parts of the engine to run, separated by commas.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1].")] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port for workers and clients; 0 = any [default: 7077]."),
    ] = None,
    http_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port for HTTP; 0 = any [default: 8080].")
    ] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    ready_file: Annotated[
        Path | None,
        typer.Option(help="Write addresses and a token here, as JSON, once ready.", dir_okay=False),
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json.")] = None,
) -> None:
    """Run an engine. Without a database URL it brings its own PostgreSQL."""
    end_with_parent()
    require_server("serve")
    settings = make_settings(
        roles=roles,
        host=host,
        grpc_port=grpc_port,
        http_port=http_port,
        data_dir=data_dir,
        database_url=database_url,
        ready_file=ready_file,
        log_level=log_level,
        log_format=log_format,
    )
    import uvloop

    from treadle.model.errors import Unavailable
    from treadle.runtime import log
    from treadle.server.boot import run_engine
    from treadle.storage.embedded import EmbeddedPostgresError

    log.configure(settings.log_level, settings.log_format)
    try:
        uvloop.run(run_engine(settings))
    except (Unavailable, EmbeddedPostgresError, OSError) as problem:
        raise CommandError(Exit.UNREACHABLE, str(problem)) from problem
