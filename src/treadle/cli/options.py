"""Options that several commands share, and the engine's settings made from them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.exits import CommandError, Exit
from treadle.cli.output import Output

if TYPE_CHECKING:
    from treadle.server.settings import Settings

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of the embedded database [env: TREADLE_DATA_DIR].", file_okay=False),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option("--database-url", help="A PostgreSQL 15-18 to use instead [env: TREADLE_DATABASE_URL]."),
]
Form = Annotated[Output, typer.Option("--output", "-o", help="How to print the result.")]


def make_settings(**given: object) -> "Settings":
    """Settings from the environment, overridden by the options that were given (those that are not None)."""
    from pydantic import ValidationError

    from treadle.server.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as problem:
        lines = [
            f"{_shown_name(error['loc'])}: {error['msg'].removeprefix('Value error, ')}" for error in problem.errors()
        ]
        raise CommandError(Exit.USAGE, "; ".join(lines)) from None


def _shown_name(location: tuple[int | str, ...]) -> str:
    name = ".".join(str(part) for part in location)
    return f"{name} (--{name.replace('_', '-')} or TREADLE_{name.upper()})" if name else "settings"
