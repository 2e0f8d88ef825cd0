"""Columns of a batch as query parameters.

The driver's own array encoder looks at every element in Python and was a third of the engine's time. Ids and numbers
travel as one array literal each instead (`$1::text::uuid[]`); rows that are only inserted go in by COPY.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def ids(values: Iterable[str]) -> str:
    """An array literal of ids, which hold no character that would need quoting."""
    return "{" + ",".join(values) + "}"


def numbers(values: Iterable[int]) -> str:
    """An array literal of integers."""
    return "{" + ",".join(map(str, values)) + "}"


def times(values: Iterable[float | None]) -> str:
    """An array literal of times in epoch seconds, where some may be missing.

    Most of a batch shares a few values, and writing out a float costs more than looking it up.
    """
    known: dict[float | None, str] = {None: "NULL"}
    parts = []
    for value in values:
        text = known.get(value)
        if text is None:
            text = known[value] = repr(value)
        parts.append(text)
    return "{" + ",".join(parts) + "}"


def texts(values: Sequence[str | None]) -> Sequence[str | None] | None:
    """A text column; None when it holds nothing, because unnest pads a shorter column with nulls."""
    return None if values.count(None) == len(values) else values
