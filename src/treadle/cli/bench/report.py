"""Print the figures of a benchmark."""

import json
from typing import Any


def print_report(report: dict[str, Any], *, as_json: bool) -> None:
    """JSON for programs; a list of names and figures for people."""
    if as_json:
        print(json.dumps(report, indent=2))
        return
    for name, value in _flat(report):
        shown = f"{value:,}" if isinstance(value, int | float) else str(value)
        print(f"{name.replace('_', ' '):<28}{'-' if value is None else shown}")


def _flat(report: dict[str, Any]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in report.items():
        if isinstance(value, dict):
            pairs += [(f"{name} {inner}", inner_value) for inner, inner_value in value.items()]
        else:
            pairs.append((name, value))
    return pairs
