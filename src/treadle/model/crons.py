"""The syntax of cron expressions: five fields, or six with seconds first; all times are UTC."""

from __future__ import annotations

import re

from treadle.model.errors import InvalidInput

ALIASES = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})

_MONTHS = {
    "JAN": 1,
    "FEB": 2,
    "MAR": 3,
    "APR": 4,
    "MAY": 5,
    "JUN": 6,
    "JUL": 7,
    "AUG": 8,
    "SEP": 9,
    "OCT": 10,
    "NOV": 11,
    "DEC": 12,
}
_WEEKDAYS = {"SUN": 0, "MON": 1, "TUE": 2, "WED": 3, "THU": 4, "FRI": 5, "SAT": 6}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("second", 0, 59, {}),
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _WEEKDAYS),
)
_item = re.compile(r"(?:\*|([0-9]{1,2}|[A-Z]{3})(?:-([0-9]{1,2}|[A-Z]{3}))?)(?:/([0-9]{1,2}))?").fullmatch


def check_cron(text: str, field: str) -> str:
    """Return the expression, without surplus blanks, when it is a good one.

    Raises:
        InvalidInput: It has the wrong number of fields, or one of them makes no sense.
    """
    expression = " ".join(text.split())
    if expression.lower() in ALIASES:
        return expression.lower()
    parts = expression.split(" ") if expression else []
    if len(parts) not in (5, 6):
        raise InvalidInput(
            field, f"{text!r} has {len(parts)} fields; a cron has 5, or 6 with seconds first, or is e.g. '@daily'"
        )
    for part, (name, first, last, names) in zip(parts, _FIELDS[-len(parts) :], strict=True):
        for item in part.upper().split(","):
            if not _is_item(item, first, last, names):
                raise InvalidInput(field, f"{item!r} in {text!r} is no {name} ({first}-{last})")
    return expression


def _is_item(item: str, first: int, last: int, names: dict[str, int]) -> bool:
    match = _item(item)
    if match is None:
        return False
    start, end, step = match.groups()
    low = _number(start, names, first)
    high = _number(end, names, low if start else last)
    in_order = first <= low <= high <= last
    return in_order and (step is None or 1 <= int(step) <= last)


def _number(text: str | None, names: dict[str, int], default: int) -> int:
    """The value of a number or a name; -1, which is in no range, for an unknown name."""
    if text is None:
        return default
    return int(text) if text.isdigit() else names.get(text, -1)
