"""Find the app of a folder, when none is named."""

import re
from pathlib import Path

_USUAL_NAMES = ("app.py", "main.py", "tasks.py", "worker.py")
_MAKES_AN_APP = re.compile(r"^(\w+)\s*(?::[^=]+)?=\s*(?:treadle\.)?Treadle\(", re.MULTILINE)


def find_target(folder: Path) -> str | None:
    """`module:app` for the first of the usual files in which an app is made at the top level."""
    for name in _USUAL_NAMES:
        try:
            source = (folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if made := _MAKES_AN_APP.search(source):
            return f"{Path(name).stem}:{made[1]}"
    return None
