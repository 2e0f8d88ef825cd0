"""Durations as text (``1h30m``, ``1.5s``, ``250ms``) and as whole milliseconds."""

from __future__ import annotations

import re

from treadle.model.errors import InvalidInput

MAX_DURATION_MS = 9_223_372_036_854
"""About 292 years: what a signed 64-bit count of nanoseconds holds, which other parties use."""

_MAX_TEXT = 128
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_whole = re.compile(r"(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ms|s|m|h))+").fullmatch
_parts = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ms|s|m|h)").findall


def parse_duration_ms(text: str, field: str) -> int:
    """Add up the parts of a duration; part of a millisecond counts as a whole one.

    Rounding up keeps a tiny but positive limit from turning into none at all.

    Raises:
        InvalidInput: The text is not a duration, has a sign or lacks a unit, or is too long.
    """
    if len(text) > _MAX_TEXT or not _whole(text):
        raise InvalidInput(field, f"{text[:_MAX_TEXT]!r} is not a duration; write e.g. '90s', '1h30m' or '250ms'")
    # Exact arithmetic in units of 10**-scale ms: floats would turn 0.1s + 0.2s into 301 ms.
    parts = _parts(text)
    scale = max(len(fraction) for _, fraction, _ in parts)
    total: int = sum(
        int((whole or "0") + fraction.ljust(scale, "0")) * _UNIT_MS[unit] for whole, fraction, unit in parts
    )
    ms: int = -(-total // 10**scale)
    if ms > MAX_DURATION_MS:
        raise InvalidInput(field, f"{text!r} is longer than {MAX_DURATION_MS // _UNIT_MS['h']} hours")
    return ms


def format_duration(ms: int) -> str:
    """Write milliseconds the short way, e.g. ``1m30s``; ``parse_duration_ms`` reads it back."""
    if ms < 0:
        raise ValueError(f"a duration has no sign: {ms} ms")
    text = ""
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, ms = divmod(ms, size)
        if count:
            text += f"{count}{unit}"
    return text or "0s"
