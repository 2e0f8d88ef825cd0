"""`treadle worker`: run the tasks of an app until told to stop."""

from typing import Annotated

import typer

from treadle.cli.parent import end_with_parent


def worker(
    target: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Where the app is, e.g. shop.tasks:app.")],
    *,
    slots: Annotated[int, typer.Option(min=1, help="How many tasks may run at once, in each process.")] = 100,
    processes: Annotated[int, typer.Option(min=1, help="How many processes run tasks; to the engine, one worker.")] = 1,
    name: Annotated[str | None, typer.Option(help="Name of the worker [default: this machine's].")] = None,
) -> None:
    """Run tasks. SIGTERM or Ctrl-C finishes what runs, or hands it back; a second one ends at once."""
    end_with_parent()
    import socket

    from treadle.cli.loading import load_app

    load_app(target).run_worker(slots=slots, processes=processes, name=name or socket.gethostname())
