"""Finds the comparison with other task queues, which is part of the repository, not of the package."""

import subprocess
from pathlib import Path

import treadle
from treadle.cli.exits import CommandError, Exit

_PLACE = Path("bench", "peers")


def run_peers(arguments: list[str]) -> int:
    """Set up the peers' own environment and run them; the exit code of that."""
    folder = _find()
    for command in (["./setup.sh"], ["./run", *arguments]):
        code = subprocess.run(command, cwd=folder, check=False).returncode  # noqa: S603 - scripts of this repository
        if code:
            return code
    return 0


def _find() -> Path:
    checkout = Path(treadle.__file__).resolve().parents[2]
    for root in (Path.cwd(), *Path.cwd().parents, checkout):
        if (root / _PLACE / "setup.sh").is_file():
            return root / _PLACE
    raise CommandError(Exit.NOT_FOUND, "no bench/peers here: run this in a checkout of Treadle")
