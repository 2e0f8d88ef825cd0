"""Checks that several parts of a request share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.model.errors import InvalidInput

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper
    from google.protobuf.message import Message

MAX_KEY = 1024
"""Longest key of an event, rate limit or label: the database indexes them."""
MAX_EXPRESSION = 4000
"""Longest expression: parsers of them recurse."""


def check_range(value: int, field: str, first: int, last: int) -> int:
    """Return the number when it lies between the two, which are allowed themselves."""
    if not first <= value <= last:
        if value < first:
            raise InvalidInput(field, f"is {value}; it must be at least {first}")
        raise InvalidInput(field, f"is {value}; it must be at most {last}")
    return value


def check_key(text: str, field: str, max_length: int = MAX_KEY) -> str:
    """Return a free text that must be there."""
    if not text.strip():
        raise InvalidInput(field, "is empty")
    if len(text) > max_length:
        raise InvalidInput(field, f"is {len(text)} characters long; at most {max_length} are allowed")
    return text


def check_text(text: str, field: str, max_length: int) -> str:
    """Return a free text that may be missing, but not hold what the database cannot keep."""
    if len(text) > max_length:
        raise InvalidInput(field, f"is {len(text)} characters long; at most {max_length} are allowed")
    if "\0" in text:
        raise InvalidInput(field, "holds the NUL character, which cannot be stored")
    return text


def check_expression(text: str, field: str) -> str:
    """Return an expression that must be there. Whether it is good CEL is for the engine to say."""
    return check_key(text, field, MAX_EXPRESSION)


def enum_name(enum: _EnumTypeWrapper[Any], number: int, field: str) -> str:
    """The name of a value; proto3 lets numbers through that have none."""
    try:
        name: str = enum.Name(number)
    except ValueError:
        raise InvalidInput(field, f"{number} is not one of {', '.join(enum.keys())}") from None
    return name


def check_no_nul(message: Message, field: str = "") -> None:
    """Refuse a message with a NUL character in any of its texts: the database cannot keep one."""
    for descriptor, value in message.ListFields():
        name = f"{field}.{descriptor.name}" if field else descriptor.name
        if not descriptor.is_repeated:
            _check_item(value, name)
        elif descriptor.message_type is not None and descriptor.message_type.GetOptions().map_entry:
            for key, item in value.items():
                _check_item(key, name)
                _check_item(item, f"{name}[{key!r}]")
        else:
            for index, item in enumerate(value):
                _check_item(item, f"{name}[{index}]")


def _check_item(value: Any, field: str) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise InvalidInput(field, "holds the NUL character, which cannot be stored")
    elif hasattr(value, "ListFields"):
        check_no_nul(value, field)
