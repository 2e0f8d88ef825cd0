"""Ids as they come over the wire."""

from __future__ import annotations

from treadle.model.errors import InvalidInput
from treadle.model.ids import canonical_id


def checked_id(text: str, field: str) -> str:
    """A UUID as it is used inside.

    Raises:
        InvalidInput: it is none.
    """
    found = canonical_id(text)
    if found is None:
        raise InvalidInput(field, f"{text[:64]!r} is not a UUID")
    return found
