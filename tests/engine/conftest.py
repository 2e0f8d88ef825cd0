from collections.abc import AsyncIterator

import pytest
import structlog

from tests.engine.harness import Engine, open_engine
from treadle.engine.doctor import examine_runs


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
async def engine(database_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """The engine's loop on a database of the test's own. Whatever a test does, no run may be left without a way forward."""
    async with open_engine(database_url) as engine:
        yield engine
        if request.node.get_closest_marker("breaks_rows") is None:
            assert await examine_runs(engine.database) == []
