"""Kill or freeze a process at random moments while 20,000 runs are under way: nothing acknowledged is lost, nothing ends twice.

TREADLE_CHAOS_SEED repeats a round, TREADLE_CHAOS_ROUNDS asks for more of them, TREADLE_CHAOS_RUNS changes the load.
"""

import logging
import os
from pathlib import Path
from random import Random

from tests.chaos.cluster import Cluster
from tests.chaos.run import Round, run_round

logger = logging.getLogger(__name__)

RUNS = int(os.environ.get("TREADLE_CHAOS_RUNS", "20000"))


async def test_kill_engine(seed: int, tmp_path: Path) -> None:
    """The engine dies with commands in memory and comes back on the same data."""

    async def fault(cluster: Cluster, random: Random) -> None:
        del random
        await cluster.kill_engine()

    await run_round(Round(seed, RUNS, faults=2), fault, tmp_path)


async def test_kill_worker(seed: int, tmp_path: Path) -> None:
    """A worker dies with attempts in hand; they go to others, and cost the user no retry."""

    async def fault(cluster: Cluster, random: Random) -> None:
        await cluster.kill_worker(random.randrange(100))

    await run_round(Round(seed, RUNS, faults=3), fault, tmp_path)


async def test_pause_worker(seed: int, tmp_path: Path) -> None:
    """A worker freezes, is given up on, and goes on later: its reports are about attempts that others have by then."""

    async def fault(cluster: Cluster, random: Random) -> None:
        await cluster.pause_worker(random.randrange(100))

    await run_round(Round(seed, RUNS, faults=2), fault, tmp_path)


async def test_kill_postgres(seed: int, tmp_path: Path) -> None:
    """Every process of the database dies at once; the engine brings it back by itself."""

    async def fault(cluster: Cluster, random: Random) -> None:
        del random
        await cluster.kill_postgres()

    await run_round(Round(seed, RUNS, faults=2), fault, tmp_path)


async def test_kill_postgres_as_it_recovers(seed: int, tmp_path: Path) -> None:
    """The database dies again and again while it is being brought back; the engine keeps trying."""

    async def fault(cluster: Cluster, random: Random) -> None:
        await cluster.kill_postgres_as_it_recovers(random.randint(1, 3))

    await run_round(Round(seed, RUNS, faults=1), fault, tmp_path)


async def test_kill_anything(seed: int, tmp_path: Path) -> None:
    """All three in one round, in random order."""

    async def fault(cluster: Cluster, random: Random) -> None:
        victim = random.choice(["engine", "worker", "postgres"])
        logger.info("killing the %s", victim)
        match victim:
            case "engine":
                await cluster.kill_engine()
            case "worker":
                await cluster.kill_worker(random.randrange(100))
            case _:
                await cluster.kill_postgres()

    await run_round(Round(seed, RUNS, faults=4), fault, tmp_path)
