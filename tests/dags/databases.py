"""Databases for worlds."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

from tests.support.databases import database_name, new_database, run_apart
from treadle.storage.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

# Statistics and free space would come at a moment of their own and change the order in which rows are found, and with it
# the history that a seed leads to.
_STILL = """
DO $$
DECLARE each regclass;
BEGIN
    FOR each IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'treadle'::regnamespace LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', each);
    END LOOP;
END $$
"""


@contextmanager
def still_schema(server_url: str) -> Iterator[str]:
    """The name of a database with our tables and no rows, to be copied, that no autovacuum ever touches."""
    with new_database(server_url) as url:
        run_apart(_make(url))
        yield database_name(url)


async def _make(url: str) -> None:
    await migrate(url)
    conn = await asyncpg.connect(url)
    try:
        await conn.execute(_STILL)
    finally:
        await conn.close()
