"""Rows for COPY in Postgres' binary format, written here: the driver's own encoder was a quarter of the engine's time.

The format is described in the PostgreSQL manual under COPY, "Binary Format": a header, then for each row the number of
its fields and each field as a 32-bit length and its bytes (length -1: null), then a trailer.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from treadle.storage.database import Conn

_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"

# Postgres counts microseconds from 2000-01-01.
_EPOCH_US = 946_684_800_000_000
_stamp = Struct(">iq").pack
_int4 = Struct(">ii").pack
_length = Struct(">i").pack


class Stamps(dict["float | None", bytes]):
    """Fields of type timestamptz by epoch seconds (None: null). Most of a batch share a few values."""

    def __missing__(self, seconds: float | None) -> bytes:
        field = NULL if seconds is None else _stamp(8, round(seconds * 1_000_000) - _EPOCH_US)
        self[seconds] = field
        return field


class Ids(dict["str | None", bytes]):
    """Fields of type uuid by id (None: null), for ids that many rows of a batch share."""

    def __missing__(self, text: str | None) -> bytes:
        field = NULL if text is None else b"\x00\x00\x00\x10" + uuid_bytes(text)
        self[text] = field
        return field


def uuid_bytes(text: str) -> bytes:
    """The 16 bytes of an id.

    Raises:
        ValueError: it is none.
    """
    return bytes.fromhex(text.replace("-", ""))


def integer(value: int | None) -> bytes:
    """A field of type integer."""
    return NULL if value is None else _int4(4, value)


def text(value: str | None) -> bytes:
    """A field of type text."""
    if value is None:
        return NULL
    data = value.encode()
    return _length(len(data)) + data


def data(value: bytes | None) -> bytes:
    """A field of type bytea."""
    return NULL if value is None else _length(len(value)) + value


async def send(conn: Conn, table: str, columns: Sequence[str], rows: Sequence[bytes]) -> None:
    """Insert encoded rows.

    Args:
        conn: in a transaction.
        table: name of a table of the core schema.
        columns: the columns that each row has, in order.
        rows: each with its number of fields in front.
    """
    message = b"".join((_HEADER, *rows, _TRAILER))

    async def whole() -> AsyncIterator[bytes]:
        yield message

    await conn.copy_to_table(table, schema_name="treadle", columns=columns, source=whole(), format="binary")
