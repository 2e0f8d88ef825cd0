"""`treadle migrate`: bring a database's schema up to date, without starting an engine."""

from treadle.cli.extras import require_server
from treadle.cli.options import DatabaseUrl, DataDir, Form, make_settings
from treadle.cli.output import Output, note, print_json, use_output


def migrate(
    *,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Apply the migrations that the database lacks. An engine does this by itself when it starts."""
    use_output(output)
    require_server("migrate")
    import asyncio

    from treadle.cli.database import database_of

    settings = make_settings(data_dir=data_dir, database_url=database_url)
    with database_of(settings) as url:
        from treadle.storage.migrate import migrate as apply_missing

        applied = asyncio.run(apply_missing(url))
    if output is not Output.TABLE:
        print_json({"applied": applied}, output)
        return
    for name in applied:
        print(name)
    note(f"applied: {len(applied)}" if applied else "the schema is up to date")
