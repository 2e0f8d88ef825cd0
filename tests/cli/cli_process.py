"""The command line as its users meet it: a process with arguments, environment, output and exit code."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """The test's environment without settings that happen to be there, plus `more`."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TREADLE_")} | dict(more)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "treadle.cli", *arguments]


def treadle(
    *arguments: str, env: Mapping[str, str], cwd: Path | None = None, stdin: str = "", timeout: float = 50
) -> Done:
    done = subprocess.run(
        command(*arguments),
        env=environment(env),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    # A task's own traceback may be shown, one of ours never.
    assert "treadle/cli/" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)
