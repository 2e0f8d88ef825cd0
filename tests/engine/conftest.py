from collections.abc import AsyncIterator

import pytest
import structlog

from tests.engine.harness import Engine, open_engine


@pytest.fixture(autouse=True, scope="session")
def plain_tracebacks() -> None:
    """Bad commands are logged with their traceback: drawn with all variables it takes longer than the test."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    )


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[Engine]:
    """The engine's loop on a database of the test's own."""
    async with open_engine(database_url) as engine:
        yield engine
