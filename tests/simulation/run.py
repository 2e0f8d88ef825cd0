"""A long run from a seed."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.chooser import Seeded
from tests.simulation.tables import Violation
from tests.simulation.world import MakeCore, World
from treadle.scheduler.core import Core

STEPS_OF_A_WORLD = 2_000
"""After so many steps everything must heal and drain, and another world begins, of another shape."""


@dataclass
class Figures:
    """What a run has seen."""

    steps: int = 0
    worlds: int = 0
    created: int = 0
    assigned: int = 0
    refused: int = 0
    lost_commits: int = 0
    most_passed: int = 0
    trace: int = 0


def run(
    *,
    steps: int,
    seed: int,
    make_core: MakeCore = lambda window: Core(window=window),
    progress: Callable[[Figures], None] | None = None,
) -> Figures:
    """Simulate, world after world.

    Raises:
        Violation: an invariant does not hold; the message says how to see it again.
    """
    figures = Figures()
    while figures.steps < steps:
        # Each world has a seed of its own, so that a failure is reached again without what came before it.
        of_world = seed + figures.worlds
        world = World(Seeded(of_world), make_core)
        done = 0
        try:
            while done < STEPS_OF_A_WORLD and figures.steps < steps:
                done += 1
                figures.steps += 1
                world.step()
            world.drain()
        except Violation as violation:
            raise Violation(
                f"{violation}\n  again: python -m tests.simulation --seed {of_world} (step {done})"
            ) from None
        figures.worlds += 1
        figures.created += world.tables.created
        figures.assigned += world.checks.assigned
        figures.refused += world.refused
        figures.lost_commits += world.lost_commits
        figures.trace ^= world.checks.trace
        figures.most_passed = max(figures.most_passed, world.checks.most_passed)
        if progress is not None:
            progress(figures)
    return figures
