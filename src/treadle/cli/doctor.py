"""`treadle doctor`: looks for what should not be, and says what it is."""

from typing import Annotated

import typer

from treadle.cli.exits import CommandError, Exit
from treadle.cli.extras import require_server
from treadle.cli.options import DatabaseUrl, DataDir, Form, make_settings
from treadle.cli.output import Output, note, print_rows, use_output

COLUMNS = ("run_id", "task_id", "task", "problem")


def doctor(
    *,
    runs: Annotated[
        bool, typer.Option("--runs", help="Look for runs that no engine would ever go on with. The only check so far.")
    ] = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Look for what should not be. Exit code 1 when something is found; nothing is changed."""
    use_output(output)
    require_server("doctor")
    import asyncio

    if not runs:
        raise CommandError(Exit.USAGE, "say what to look at", "treadle doctor --runs")
    from treadle.cli.database import database_of

    settings = make_settings(data_dir=data_dir, database_url=database_url)
    with database_of(settings) as url:
        rows = asyncio.run(_examine(url))
    if rows or output is not Output.TABLE:
        print_rows(COLUMNS, rows, output)
    if rows:
        note(f"found: {len(rows)}")
        raise typer.Exit(Exit.RUN_FAILED)
    note("every run has a way forward")


async def _examine(url: str) -> list[dict[str, object]]:
    from treadle.engine.doctor import examine_runs
    from treadle.storage.database import Database, is_missing_table

    database = Database(url, size=2)
    await database.open()
    try:
        return [finding._asdict() for finding in await examine_runs(database)]
    except Exception as error:
        if not is_missing_table(error):
            raise
        raise CommandError(Exit.REFUSED, "the database lacks tables of this version", "treadle migrate") from None
    finally:
        await database.close()
