"""Columns of a batch as query parameters.

The driver's own array encoder looks at every element in Python and was a third of the engine's time. Ids and numbers
travel as one array literal each instead (`$1::text::uuid[]`), payloads as one blob with starts and lengths.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def ids(values: Iterable[str]) -> str:
    """An array literal of ids, which hold no character that would need quoting."""
    return "{" + ",".join(values) + "}"


def numbers(values: Iterable[float]) -> str:
    """An array literal of integers, or of times in epoch seconds."""
    return "{" + ",".join(map(str, values)) + "}"


def ids_or_null(values: Iterable[str | None]) -> str:
    """As `ids`, where some are missing."""
    return "{" + ",".join(["NULL" if value is None else value for value in values]) + "}"


def numbers_or_null(values: Iterable[float | None]) -> str:
    """As `numbers`, where some are missing."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def texts(values: Sequence[str | None]) -> Sequence[str | None] | None:
    """A text column; None when it holds nothing, because unnest pads a shorter column with nulls."""
    return None if values.count(None) == len(values) else values


class Blob(NamedTuple):
    """Byte strings one behind the other: `substring(data FROM start FOR length)`, null where the length is -1."""

    data: bytes
    starts: str
    lengths: str


def blob(values: Sequence[bytes | None]) -> Blob:
    """A bytea column."""
    lengths = [-1 if value is None else len(value) for value in values]
    sizes = [max(length, 0) for length in lengths]
    starts = accumulate(sizes[:-1], initial=1)
    return Blob(b"".join([value for value in values if value]), numbers(starts), numbers(lengths))
