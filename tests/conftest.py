"""Fixtures for all tests. Imports are late, so that tests without a database collect without one."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server where tests may make databases: the one in TREADLE_TEST_DATABASE_URL, else one of our own."""
    if outside := os.environ.get("TREADLE_TEST_DATABASE_URL"):
        yield outside
        return
    from treadle.testing.postgres import TemporaryPostgres

    with TemporaryPostgres() as server:
        yield server.url


@pytest.fixture(scope="session")
def empty_schema(postgres_url: str) -> Iterator[str]:
    """The name of a database with our tables and no rows: copying it is much faster than migrating."""
    from tests.support.databases import database_name, new_database, run_apart
    from treadle.storage.migrate import migrate

    with new_database(postgres_url) as url:
        run_apart(migrate(url))
        yield database_name(url)


@pytest.fixture
def database_url(postgres_url: str, empty_schema: str) -> Iterator[str]:
    """A database of the test's own, with our tables and no rows."""
    from tests.support.databases import new_database

    with new_database(postgres_url, template=empty_schema) as url:
        yield url
