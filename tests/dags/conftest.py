from collections.abc import Iterator

import pytest

from tests.dags.databases import still_schema
from tests.engine.conftest import plain_tracebacks

__all__ = ["plain_tracebacks"]


@pytest.fixture(scope="session")
def empty_world(postgres_url: str) -> Iterator[str]:
    """The name of a database to be copied for each world."""
    with still_schema(postgres_url) as name:
        yield name
