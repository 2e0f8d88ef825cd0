"""Two thousand random workflow runs on a real engine, each compared with a small second model; `make soak` takes 50,000.

TREADLE_DAGS_SEED repeats a world.
"""

import os
from collections.abc import Callable
from random import SystemRandom

import pytest

from tests.dags.mutants import MUTANTS
from tests.dags.run import DAGS_OF_A_WORLD, play
from tests.support.databases import new_database
from treadle.model.errors import TreadleError

WORLDS = 8

FULL_OF_TROUBLE = (4, 7, 10, 11, 3, 0, 5, 2)
"""Seeds of worlds in which much happens."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each world is a test of its own; its name carries the seed, so that a failure tells how to repeat it."""
    if "seed" in metafunc.fixturenames:
        given = os.environ.get("TREADLE_DAGS_SEED")
        seeds = [int(given)] if given else [SystemRandom().randrange(1 << 31) for _ in range(WORLDS)]
        metafunc.parametrize("seed", seeds, ids=lambda seed: f"seed={seed}")


@pytest.mark.timeout(240)
async def test_all_end_as_the_rules_say(seed: int, postgres_url: str, empty_world: str) -> None:
    with new_database(postgres_url, template=empty_world) as url:
        figures = await play(seed, url)
    assert figures.dags == DAGS_OF_A_WORLD


@pytest.mark.timeout(240)
async def test_worlds_are_full_of_trouble(postgres_url: str, empty_world: str) -> None:
    """What the test above would be worth little without; and a seed leads to the same history again."""
    found = []
    for _ in range(2):
        with new_database(postgres_url, template=empty_world) as url:
            found.append(await play(10, url, dags=100))
    figures = found[0]
    assert figures == found[1]
    assert figures.ends > 2000
    assert figures.overlapped > 20
    assert figures.events > 100
    assert figures.races > 20
    assert min(figures.restarts, figures.crashes, figures.failed_commits, figures.looks) > 1
    assert min(figures.cancelled, figures.replayed, figures.stale) > 10
    assert figures.waiting_for_ever > 1


@pytest.mark.timeout(240)
@pytest.mark.parametrize("mutant", MUTANTS)
async def test_a_planted_bug_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None],
    postgres_url: str,
    empty_world: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutant(monkeypatch)
    with pytest.raises((AssertionError, TreadleError)) as caught:  # noqa: PT012 - some worlds have no use for the bug
        for seed in FULL_OF_TROUBLE:
            with new_database(postgres_url, template=empty_world) as url:
                await play(seed, url, dags=40, max_tasks=20)
    print(mutant.__name__, f"{caught.value!r:.300}", caught.value.__notes__)  # noqa: T201 - how soon, for whoever changes the worlds
