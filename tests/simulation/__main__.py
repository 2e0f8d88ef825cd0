"""`python -m tests.simulation --steps 1000000 --seed S`: a long simulation of the scheduler."""

# ruff: noqa: T201 - it talks to a person

import argparse
import secrets
import sys
import time

from tests.simulation.run import Figures, run
from tests.simulation.tables import Violation


def main() -> int:
    """Run; 1 when an invariant was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.steps} steps", flush=True)
    began = time.perf_counter()

    def progress(figures: Figures) -> None:
        if figures.worlds % 50 == 0:
            print(f"  {figures.steps} steps, {figures.assigned} assignments", flush=True)

    try:
        figures = run(steps=arguments.steps, seed=arguments.seed, progress=progress)
    except Violation as violation:
        print(f"VIOLATED: {violation}")
        return 1
    print(f"all invariants held: {figures} in {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
