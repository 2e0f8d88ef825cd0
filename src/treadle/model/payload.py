"""What counts as a JSON payload: checked once at the edge, opaque bytes from there on."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

from treadle.model.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_DEPTH = 128
"""Arrays and objects nested deeper than this overflow the parsers of other languages."""

# An odd number of backslashes before u0000: with an even one the text is a backslash and "u0000".
_has_nul = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000").search
_strings = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _strict_loads(data: bytes) -> Any:
    """The standard library's parser without its liberties: UTF-8 only, no NaN, no half characters."""
    value = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    if b"\\u" in data:
        # Half of a surrogate pair passes the parser and fails when the text is written out.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def check_json(
    data: bytes | str,
    field: str,
    *,
    object_only: bool,
    max_bytes: int,
    loads: Callable[[bytes], Any] = _strict_loads,
) -> bytes:
    """Return the payload as UTF-8 bytes, unchanged, when it is JSON that every party can read.

    Args:
        data: JSON text.
        field: Name of the payload in errors.
        object_only: Refuse anything but a JSON object.
        max_bytes: Longest payload allowed, in bytes.
        loads: A strict parser to use instead of the standard library's; `orjson.loads` is one.

    Raises:
        InvalidInput: Not JSON, not UTF-8, too long, nested too deep, or it holds a NUL character
            or half of a surrogate pair.
    """
    if isinstance(data, str):
        try:
            data = data.encode("utf-8")
        except UnicodeEncodeError:
            raise InvalidInput(field, "holds half of a surrogate pair, which is no character") from None
    size = len(data)
    if size > max_bytes:
        raise InvalidInput(field, f"is {size} bytes long; at most {max_bytes} are allowed")
    try:
        value = loads(data)
    except UnicodeError:
        raise InvalidInput(field, _why_not_text(data)) from None
    except RecursionError:
        raise InvalidInput(field, f"is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise InvalidInput(field, _why_not_json(data, error)) from None
    if object_only and type(value) is not dict:
        raise InvalidInput(field, f"must be a JSON object, not {_kind(value)}")
    if b"\\u0000" in data and _has_nul(data):
        raise InvalidInput(field, "holds the NUL character (\\u0000), which cannot be stored")
    if size > MAX_DEPTH and data.count(b"[") + data.count(b"{") > MAX_DEPTH and _depth(data) > MAX_DEPTH:
        raise InvalidInput(field, f"is nested deeper than {MAX_DEPTH} levels")
    return data


def check_metadata(
    text: str,
    field: str,
    *,
    max_bytes: int = 1 << 20,
    loads: Callable[[bytes], Any] = _strict_loads,
) -> str:
    """Return additional metadata as given, or "" when there is none ("" or ``null``).

    Raises:
        InvalidInput: It is not a JSON object, or breaks a rule of `check_json`.
    """
    if not text or text.strip() in ("", "null"):
        return ""
    check_json(text, field, object_only=True, max_bytes=max_bytes, loads=loads)
    return text


def _why_not_text(data: bytes) -> str:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"is not UTF-8 text (byte {error.start})"
    return "holds half of a surrogate pair, which is no character"


def _why_not_json(data: bytes, error: ValueError) -> str:
    if not data:
        return "is empty; JSON is needed"
    if b"\0" in data:
        return "holds a NUL byte, which cannot be stored"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as encoding_error:
        return f"is not UTF-8 text (byte {encoding_error.start})"
    return f"is not valid JSON: {error}"


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, list):
        return "an array"
    return "a string" if isinstance(value, str) else "a number"


def _depth(data: bytes) -> int:
    deepest = level = 0
    for byte in _strings.sub(b"", data):
        if byte in b"[{":
            level += 1
            deepest = max(deepest, level)
        elif byte in b"]}":
            level -= 1
    return deepest
