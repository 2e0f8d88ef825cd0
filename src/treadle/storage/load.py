"""Reads the SQL files beside this module: one dictionary of statements per file."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_HEADER = re.compile(r"^-- name: (\w+) :(exec|one|many)\s*$", re.MULTILINE)


@cache
def statements(stem: str) -> dict[str, str]:
    """The statements of `sql/<stem>.sql` by name.

    Each begins with a line `-- name: <name> :exec|one|many`. The text is prefixed with `/* stem.name */`, so that
    pg_stat_activity names the file.
    """
    text = files("treadle.storage").joinpath("sql", f"{stem}.sql").read_text()
    parts = _HEADER.split(text)
    return {
        name: f"/* {stem}.{name} */ {body.strip().rstrip(';')}"
        for name, body in zip(parts[1::3], parts[3::3], strict=True)
    }
