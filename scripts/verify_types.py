"""Check that every name of the SDK has a complete type, as the type checker of a user will see it.

Pyright and the Node that runs it both come from Python packages: nothing is downloaded.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGE = "treadle.sdk"


def run_pyright() -> dict[str, Any]:
    # Pyright asks the first `python` of PATH where packages are; by default it also asks the package index for news.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--ignoreexternal", "--outputjson", "--verifytypes", PACKAGE],
        env=os.environ | {"PATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        sys.exit(f"pyright did not run:\n{done.stdout}{done.stderr}")
    return report


def complaints(report: dict[str, Any]) -> list[str]:
    found = list(report["generalDiagnostics"])
    for symbol in report["typeCompleteness"]["symbols"]:
        if symbol["isExported"] and not symbol["isTypeKnown"]:
            found += symbol["diagnostics"]
    lines = [f"{_place(one)}: {one['message']}" for one in found if one["severity"] == "error"]
    # "Partially unknown" only says that another name is to blame: show the names to blame, if there are any
    causes = [line for line in lines if "partially unknown" not in line]
    return sorted(set(causes or lines))


def _place(diagnostic: dict[str, Any]) -> str:
    file = diagnostic.get("file") or PACKAGE
    start = diagnostic.get("range", {}).get("start")
    return f"{file}:{start['line'] + 1}" if start else file


def main() -> None:
    report = run_pyright()
    found = complaints(report)
    known = report["typeCompleteness"]["exportedSymbolCounts"]["withKnownType"]
    if not known:
        found.append(f"{PACKAGE}: pyright found no public names")
    for line in found:
        print(line)
    if found:
        sys.exit(1)
    print(f"{PACKAGE}: {known} public names, all with complete types")


if __name__ == "__main__":
    main()
