"""The functions that CEL expressions have beyond those of the library's core: a checksum, and the string extension."""

from __future__ import annotations

import hashlib
import string
from typing import TYPE_CHECKING, Any

from cel.stdlib import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_TEXT = 1 << 22
"""Characters of a text that a function may build: as much as a message of the wire may have."""

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)


def checksum(text: str) -> str:
    """The SHA-256 of a text, as lower-case hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def _string(value: Any) -> str:
    # Asked only for types that the library's own conversion does not know.
    if isinstance(value, bool):
        return "true" if value else "false"
    raise TypeError(f"no text can be made of a {type(value).__name__}")


def _replace(text: str, old: str, new: str, limit: int = -1) -> str:
    times = text.count(old)
    if limit >= 0:
        times = min(times, limit)
    _check_length(len(text) + times * (len(new) - len(old)))
    return text.replace(old, new, limit if limit >= 0 else -1)


def _join(items: list[str], separator: str = "") -> str:
    _check_length(sum(map(len, items)) + len(separator) * len(items))
    return separator.join(items)


def _check_length(length: int) -> None:
    if length > MAX_TEXT:
        raise ValueError(f"a text of {length} characters is too long")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **EXTENSIONS["strings"],
    "bool": EXTENSIONS["core"]["bool"],
    "checksum": checksum,
    "join": _join,
    "lowerAscii": lambda text: text.translate(_LOWER),
    "replace": _replace,
    "string": _string,
    "upperAscii": lambda text: text.translate(_UPPER),
}
"""By name; each can be called as a function and as a method of its first argument."""

_CORE = (
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
)
_PARTS_OF_A_TIME = (
    "Date",
    "DayOfMonth",
    "DayOfWeek",
    "DayOfYear",
    "FullYear",
    "Hours",
    "Milliseconds",
    "Minutes",
    "Month",
    "Seconds",
)

KNOWN = frozenset(
    {*_CORE, *(name.rpartition(".")[2] for name in FUNCTIONS), *(f"get{part}" for part in _PARTS_OF_A_TIME)}
)
"""The names of these and of the library's own."""
