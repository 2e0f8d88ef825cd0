"""Read what people type: durations, points in time, key=value pairs, inputs."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from treadle.cli.exits import CommandError, Exit


def read_duration(text: str, option: str) -> timedelta:
    """`90`, `90s`, `5m`, `1h30m`, `2d`; a bare number counts seconds."""
    from treadle.model.durations import parse_duration_ms
    from treadle.model.errors import InvalidInput

    days, mark, rest = text.strip().partition("d")
    if mark and days.isdigit():
        return timedelta(days=int(days)) + (read_duration(rest, option) if rest else timedelta())
    try:
        return timedelta(seconds=float(text))
    except ValueError:
        pass
    except OverflowError:
        raise CommandError(Exit.USAGE, f"{option}: {text} is too long") from None
    try:
        return timedelta(milliseconds=parse_duration_ms(text.strip(), option))
    except InvalidInput as problem:
        raise CommandError(Exit.USAGE, str(problem)) from None


def read_time(text: str, option: str) -> datetime:
    """`2026-01-31`, `2026-01-31T12:00`, with or without a zone (local without), or `2h`: that long ago."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC) - read_duration(text, option)
    return moment.astimezone(UTC)


def read_pairs(texts: list[str], option: str) -> dict[str, str]:
    """`key=value`, several times."""
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CommandError(Exit.USAGE, f"{option}: {text!r} is not key=value")
        pairs[key] = value
    return pairs


def read_input(texts: list[str]) -> bytes:
    """The input of a run: a JSON object, `@file`, `-` for stdin, or `key=value` several times.

    The value of a pair is read as JSON where that works (`width=200`, `tags=["a"]`), else it is a text.
    """
    if not texts:
        return b"{}"
    pairs: dict[str, Any] = {}
    for text in texts:
        whole = _whole_input(text)
        if whole is not None:
            if len(texts) > 1:
                raise CommandError(Exit.USAGE, "--input: give one JSON object, or key=value pairs")
            return whole
        for key, value in read_pairs([text], "--input").items():
            pairs[key] = _json_or_text(value)
    return json.dumps(pairs).encode()


def _whole_input(text: str) -> bytes | None:
    if text == "-":
        return _object(sys.stdin.buffer.read(), "stdin")
    if text.startswith("@"):
        try:
            return _object(Path(text[1:]).read_bytes(), text[1:])
        except OSError as problem:
            raise CommandError(Exit.USAGE, f"--input: cannot read {text[1:]}: {problem.strerror}") from None
    if text.lstrip().startswith(("{", "[", '"')) or "=" not in text:
        return _object(text.encode(), "--input")
    return None


def _object(data: bytes, source: str) -> bytes:
    """What the engine will get is exactly what was given; here it is only looked at."""
    try:
        value = json.loads(data)
    except ValueError as problem:
        raise CommandError(Exit.USAGE, f"{source}: not valid JSON: {problem}") from None
    if not isinstance(value, dict):
        raise CommandError(
            Exit.USAGE, f"{source}: an input is a JSON object (the task's parameters by name), not {value!r:.40}"
        )
    return data


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
