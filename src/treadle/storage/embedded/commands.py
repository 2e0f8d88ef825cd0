"""Running PostgreSQL's programs."""

import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from treadle.storage.embedded.account import Account, prefix
from treadle.storage.embedded.binaries import Binaries
from treadle.storage.embedded.errors import EmbeddedPostgresError

_TIMEOUT = 180.0


class Commands:
    def __init__(self, binaries: Binaries, account: Account) -> None:
        self._binaries = binaries
        self._account = account

    def run_as_account(self, program: str, *arguments: str, paths: Iterable[Path]) -> None:
        """Run a program that refuses root, and that has to get to `paths`."""
        path = self._binaries.program(program)
        before = prefix(self._account, [path, *paths])
        _run([*before, str(path), *arguments])

    def output(self, program: str, *arguments: str) -> str:
        """What a client program prints; those run as ourselves."""
        return _run([str(self._binaries.program(program)), *arguments])


def _run(command: Sequence[str]) -> str:
    # A session of its own: Ctrl-C in the engine's terminal must not reach the server.
    # Output goes to pipes; the server itself writes to its log, so the pipes close with the program.
    try:
        done = subprocess.run(  # noqa: S603 - programs of the wheel
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=_environment(),
            cwd="/",
            start_new_session=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise EmbeddedPostgresError(f"{_name(command)} did not end within {_TIMEOUT:.0f} s") from late
    if done.returncode != 0:
        said = (done.stderr + done.stdout).strip()
        raise EmbeddedPostgresError(f"{_name(command)} failed: {said}")
    return done.stdout


def _name(command: Sequence[str]) -> str:
    start = command.index("--") + 1 if "--" in command else 0
    return Path(command[start]).name


def _environment() -> dict[str, str]:
    """Ours without PGHOST, PGPORT and their like, which would send the programs elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C"}
