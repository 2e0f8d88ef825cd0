"""`python -m tests.soak`: three engines, any one killed every ten seconds for three minutes under 1,000 tasks a second.

Prints figures, and what is wrong if anything is.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.chaos.engines import Siege, besiege
from tests.support.databases import new_database
from treadle.storage.migrate import migrate
from treadle.testing.postgres import TemporaryPostgres


def main() -> int:
    """0 when every rule held."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--kill-every", type=float, default=10, help="seconds between two kills")
    parser.add_argument("--rate", type=float, default=1000, help="runs started each second")
    parser.add_argument("--engines", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1_000_000_000))
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    plan = Siege(given.seed, given.seconds, given.kill_every, given.rate, given.engines, given.workers)
    _say(f"seed {plan.seed}")
    # As it comes: nothing is tuned for speed at the cost of durability.
    with (
        tempfile.TemporaryDirectory(prefix="treadle-soak-") as folder,
        TemporaryPostgres(settings={}) as server,
        new_database(server.url) as url,
    ):
        asyncio.run(migrate(url))
        try:
            figures = asyncio.run(besiege(plan, Path(folder), url))
        except AssertionError as problem:
            _say(str(problem))
            return 1
    _say(f"{figures}; every rule held")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
