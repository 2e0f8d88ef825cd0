"""The types users see, by mypy and pyright themselves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SNIPPETS = ("snippet.txt", "workflows.txt")
"""Not modules, so that the checks of this repository do not stumble over their mistakes."""

ROOT = HERE.parents[2]

_short = re.compile(r"\b(?:\w+\.)+(\w+)")


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    # Pyright asks the first `python` of PATH where packages are.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PATH": path},
        check=False,
    )


def expected(snippet: Path) -> dict[int, tuple[str, str]]:
    """What a snippet says of itself: line number to (kind, text)."""
    found: dict[int, tuple[str, str]] = {}
    for number, line in enumerate(snippet.read_text().splitlines(), start=1):
        if match := re.search(r"# (reveal|error): (.+)$", line):
            found[number] = (match[1], match[2])
    return found


@pytest.mark.parametrize("name", SNIPPETS)
def test_mypy_sees_the_types_and_the_mistakes(tmp_path: Path, name: str) -> None:
    snippet = HERE / name
    module = tmp_path / "snippet.py"
    module.write_text(snippet.read_text())
    options = ["--strict", "--config-file", "", "--cache-dir", str(tmp_path / "cache"), "--no-pretty"]
    options += ["--no-error-summary", "--show-error-codes", "--follow-imports", "silent"]
    done = run("mypy", *options, str(module), folder=ROOT / "src")
    seen: dict[int, tuple[str, str]] = {}
    codes: dict[int, set[str]] = {}
    for line in done.stdout.splitlines():
        if match := re.match(r".*snippet\.py:(\d+): note: Revealed type is [\"'](.+)[\"']", line):
            seen[int(match[1])] = ("reveal", _short.sub(r"\1", match[2]))
        elif match := re.match(r".*snippet\.py:(\d+): error: .*\[([\w-]+)\]$", line):
            codes.setdefault(int(match[1]), set()).add(match[2])
    seen |= {number: ("error", " ".join(sorted(found))) for number, found in codes.items()}
    wanted = {
        number: (kind, " ".join(sorted(text.split())) if kind == "error" else text)
        for number, (kind, text) in expected(snippet).items()
    }
    assert len(wanted) > 30
    assert seen == wanted, done.stdout + done.stderr


@pytest.mark.timeout(180)
def test_every_public_type_is_complete() -> None:
    done = run("pyright", "--verifytypes", "treadle", "--ignoreexternal", "--outputjson", folder=ROOT)
    report = json.loads(done.stdout)["typeCompleteness"]
    unknown = [
        f"{symbol['name']}: {diagnostic['message']}"
        for symbol in report["symbols"]
        if symbol["isExported"] and not symbol["isTypeKnown"] and _is_public(symbol["name"])
        for diagnostic in symbol["diagnostics"]
    ]
    assert unknown == []
    seen = {symbol["name"] for symbol in report["symbols"] if symbol["isExported"]}
    assert {"treadle.sdk.app.Treadle.task", "treadle.sdk.task.Task.run", "treadle.model.states.RunStatus"} <= seen


def _is_public(name: str) -> bool:
    """Whether users meet it: the engine's own modules are exported by pyright's rules too."""
    homes = ("treadle.sdk.", "treadle.model.errors.", "treadle.model.states.")
    return name.startswith(homes) or name.count(".") == 1
