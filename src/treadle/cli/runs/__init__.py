"""`treadle runs`: look at runs, cancel them, run them again."""

import typer

from treadle.cli.runs import change, get, list_

app = typer.Typer(help="Look at runs, cancel them, run them again.", no_args_is_help=True)
app.command("list")(list_.list_runs)
app.command("get")(get.get_run)
app.command("cancel")(change.cancel)
app.command("replay")(change.replay)
