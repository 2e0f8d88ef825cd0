"""Seeds of the chaos tests: random ones, unless TREADLE_CHAOS_SEED names where to begin. And an engine to lie to."""

import os
from collections.abc import AsyncIterator, Iterator
from itertools import count
from random import SystemRandom

import asyncpg
import pytest

from tests.chaos.raw import RawClient
from treadle.testing.engine import EngineProcess

SECONDS_A_ROUND = 240


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each round is a test of its own; its name carries the seed, so that a failure tells how to repeat it."""
    if "seed" not in metafunc.fixturenames:
        return
    rounds = int(os.environ.get("TREADLE_CHAOS_ROUNDS", "1"))
    given = os.environ.get("TREADLE_CHAOS_SEED")
    first = int(given) if given else SystemRandom().randrange(1_000_000_000)
    metafunc.parametrize("seed", range(first, first + rounds), ids=lambda seed: f"seed={seed}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests with a seed kill processes, and take their time."""
    for item in items:
        if "seed" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.chaos)
            item.add_marker(pytest.mark.timeout(SECONDS_A_ROUND))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the seeds of all rounds, also of those that passed."""
    rounds = [
        f"{report.outcome:8} {report.nodeid.rpartition('::')[2]}"
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if "seed=" in report.nodeid
    ]
    if rounds:
        terminalreporter.section("chaos rounds")
        for line in sorted(rounds):
            terminalreporter.line(line)


_names = count()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """An engine that gives up on silent workers soon."""
    env = {"TREADLE_SESSION_LOST_AFTER": "1.0", "TREADLE_CANARY_INTERVAL": "0.2"}
    with EngineProcess(tmp_path_factory.mktemp("engine"), env=env) as process:
        yield process


@pytest.fixture
async def connection(engine: EngineProcess) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(engine.database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def client(engine: EngineProcess) -> AsyncIterator[RawClient]:
    client = RawClient(engine.grpc_address, engine.token)
    yield client
    await client.close()


@pytest.fixture
async def task(client: RawClient) -> tuple[str, str]:
    """A task of the test's own: its name and its action."""
    name = f"reported-{next(_names)}"
    return name, await client.put_task(name, retries=2)
