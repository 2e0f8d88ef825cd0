from collections.abc import AsyncIterator

import pytest

from tests.engine.harness import Engine, open_engine


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[Engine]:
    """The engine's loop on a database of the test's own."""
    async with open_engine(database_url) as engine:
        yield engine
