"""Worlds from seeds."""

from __future__ import annotations

import time
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

from tests.dags.checks import check
from tests.dags.watched import watched_engine
from tests.dags.world import Figures, World
from treadle.model import ids

if TYPE_CHECKING:
    from collections.abc import Iterator

DAGS_OF_A_WORLD = 250

_DAY = 86_400


async def play(seed: int, url: str, *, dags: int = DAGS_OF_A_WORLD, max_tasks: int = 60) -> Figures:
    """Play one world on a database without rows.

    It is played until nothing happens by itself any more, again after replays, and to its last end by cancels.

    Raises:
        AssertionError: Something is not as it should be; a note tells the seed.
    """
    rng = Random(seed)
    # Tomorrow noon: later than any time at which this runs, and there are partitions for it.
    start = (time.time() // _DAY + 1.5) * _DAY
    try:
        with _ids_from(seed, start):
            async with watched_engine(url) as engine:
                engine.clock.advance(start - engine.clock.now())
                world = World(rng, engine, dags, max_tasks)
                await world.populate()
                await _play(world)
                world.figures.failed_commits = engine.refused
                world.figures.stale = world.crew.stale
                return world.figures
    except BaseException as problem:
        problem.add_note(f"again: python -m tests.dags --seed {seed} --dags {dags} --of-a-world {dags}")
        raise


async def _play(world: World) -> None:
    await world.play()
    await check(world)
    ended = [story for story in world.stories if story.status is not None]
    world.troubles.ask_replay([(story, None) for story in world.rng.sample(ended, len(ended) // 4)])
    await world.play()
    await check(world)
    unended = [story for story in world.stories if story.status is None]
    world.figures.waiting_for_ever = len(unended)
    world.troubles.ask_cancel([(story, None) for story in unended])
    await world.play()
    await check(world, over=True)


@contextmanager
def _ids_from(seed: int, start: float) -> Iterator[None]:
    """Ids decide the order of some things: they come from the seed as well, and have the time of the world."""
    source = ids._source
    source.bits = Random(seed).getrandbits
    source.ms, source.counter, source.last = round(start * 1000), ids._COUNTER_END, 0
    try:
        yield
    finally:
        source.start()
