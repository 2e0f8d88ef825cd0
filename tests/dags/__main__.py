"""`python -m tests.dags --dags 50000 --seed S`: random workflow runs on a real engine, compared with the rules."""

# ruff: noqa: T201 - it talks to a person

import argparse
import asyncio
import secrets
import sys
import time
import traceback

import structlog

from tests.dags.databases import still_schema
from tests.dags.run import DAGS_OF_A_WORLD, play
from tests.dags.world import Figures
from tests.support.databases import new_database
from treadle.testing.postgres import TemporaryPostgres


def main() -> int:
    """Run; 1 when a run did not end as it should."""
    parser = argparse.ArgumentParser(prog="python -m tests.dags", description=__doc__)
    parser.add_argument("--dags", type=int, default=50_000)
    parser.add_argument("--of-a-world", type=int, default=DAGS_OF_A_WORLD, help="how many run side by side")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    arguments = parser.parse_args()
    # Planned failures are logged with their traceback: drawn with all variables it takes longer than a world.
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    )
    print(f"seed {arguments.seed}, {arguments.dags} workflow runs", flush=True)
    began = time.perf_counter()
    figures = Figures()
    with TemporaryPostgres() as server, still_schema(server.url) as empty:
        while figures.dags < arguments.dags:
            # Each world has a seed of its own, so that a failure is reached again without what came before it.
            seed = arguments.seed + figures.dags // arguments.of_a_world
            with new_database(server.url, template=empty) as url:
                try:
                    figures.add(asyncio.run(play(seed, url, dags=arguments.of_a_world)))
                except Exception as problem:  # noqa: BLE001 - whatever it is, it is to be shown
                    traceback.print_exception(problem)
                    return 1
            if figures.dags % 5000 < arguments.of_a_world:
                print(f"  {figures.dags} in {time.perf_counter() - began:.0f} s", flush=True)
    print(f"all ended as the rules say: {figures} in {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
