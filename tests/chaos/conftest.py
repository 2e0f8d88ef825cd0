"""Seeds of the chaos tests: random ones, unless TREADLE_CHAOS_SEED names where to begin."""

import os
from random import SystemRandom

import pytest

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
