"""Print the figures of a benchmark."""

import json
from collections.abc import Iterator
from typing import Any


def print_report(report: dict[str, Any], *, as_json: bool) -> None:
    """JSON for programs; a list of names and figures for people."""
    if as_json:
        print(json.dumps(report, indent=2))
        return
    pairs = list(_flat(report))
    width = max(len(name) for name, _ in pairs) + 2
    for name, value in pairs:
        shown = f"{value:,}" if isinstance(value, int | float) else str(value)
        print(f"{name:<{width}}{'-' if value is None else shown}")


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Names and figures of everything inside, the names of what is around them in front."""
    if isinstance(value, dict):
        inner = [(key.replace("_", " "), each) for key, each in value.items()]
    elif isinstance(value, list):
        inner = [(str(place), each) for place, each in enumerate(value, 1)]
    else:
        yield name, value
        return
    for key, each in inner:
        yield from _flat(each, f"{name} {key}".lstrip())
