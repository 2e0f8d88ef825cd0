"""A check for tests: nothing that is stored may be without a way forward."""

from treadle.engine.doctor import Finding, examine_runs
from treadle.storage.database import Database


async def stuck_runs(database_url: str) -> list[Finding]:
    """What `treadle doctor --runs` would find, engines at work or not."""
    database = Database(database_url, size=2)
    await database.open()
    try:
        return await examine_runs(database)
    finally:
        await database.close()
