"""`treadle token create`: a token for a worker or a client."""

from datetime import timedelta
from typing import Annotated

import typer

from treadle.cli.extras import require_server
from treadle.cli.options import DatabaseUrl, DataDir, Form, make_settings
from treadle.cli.output import Output, print_json, use_output

app = typer.Typer(help="Tokens that workers and clients show to the engine.", no_args_is_help=True)

MAX_DAYS = 36_500


@app.callback()
def _token() -> None:
    pass


@app.command("create")
def create(
    *,
    name: Annotated[str, typer.Option(help="What the token is for; shown in lists.")] = "cli",
    expires_days: Annotated[int, typer.Option(min=1, max=MAX_DAYS, help="Days until it stops working.")] = 90,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Make a token and print it. It is shown this once: the database keeps no copy."""
    use_output(output)
    require_server("token create")
    import asyncio

    from treadle.cli.database import database_of
    from treadle.server.tokens import create_token

    settings = make_settings(data_dir=data_dir, database_url=database_url)
    with database_of(settings) as url:
        token = asyncio.run(
            create_token(
                settings.model_copy(update={"database_url": url}), name=name, expires_in=timedelta(days=expires_days)
            )
        )
    if output is Output.TABLE:
        print(token)
    else:
        print_json({"token": token, "name": name, "expires_days": expires_days}, output)
