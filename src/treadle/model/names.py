"""The rule for names of workflows, tasks and workers."""

from __future__ import annotations

import re

from treadle.model.errors import InvalidInput

MAX_NAME = 255

_match = re.compile(r"[a-zA-Z0-9._-]+").fullmatch


def check_name(text: str, field: str) -> str:
    """Return the name when it is a good one.

    Raises:
        InvalidInput: It is empty, too long, or has a character other than ASCII letters,
            digits, dot, dash and underscore.
    """
    if not text:
        raise InvalidInput(field, "is empty; a name is needed")
    if len(text) > MAX_NAME:
        raise InvalidInput(field, f"is {len(text)} characters long; at most {MAX_NAME} are allowed")
    if not _match(text):
        raise InvalidInput(field, f"{text!r} may only hold letters, digits, '.', '-' and '_'")
    return text
