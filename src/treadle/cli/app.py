"""The tree of commands, and the one place where a failure becomes a message and an exit code."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from treadle.cli import bench, dev, doctor, migrate, runs, serve, token, trigger, worker
from treadle.cli.exits import CommandError
from treadle.cli.output import Output, say_failure, use_output


class Commands(TyperGroup):
    """A group whose commands fail with CommandError."""

    def invoke(self, ctx: Any) -> Any:
        # An earlier command of this process may have asked for another form.
        use_output(Output.TABLE)
        try:
            return super().invoke(ctx)
        except CommandError as failure:
            say_failure(failure)
            raise typer.Exit(failure.code) from None


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"treadle {version('treadle')}")
        raise typer.Exit


app = typer.Typer(
    name="treadle",
    help="Treadle: a distributed task queue and orchestration engine on Postgres.",
    cls=Commands,
    no_args_is_help=True,
    # Help without rich: it would cost half of the start-up time.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _treadle(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("dev")(dev.dev)
app.command("serve")(serve.serve)
app.command("worker")(worker.worker)
app.command("trigger")(trigger.trigger)
app.add_typer(runs.app, name="runs")
app.add_typer(token.app, name="token")
app.command("migrate")(migrate.migrate)
app.command("doctor")(doctor.doctor)
app.add_typer(bench.app, name="bench")
