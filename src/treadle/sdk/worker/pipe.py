"""Messages over a socket between a worker and a child process: length, kind, body."""

from __future__ import annotations

import asyncio
import json
import marshal
import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from treadle.sdk.worker.frames import News

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

_HEAD = struct.Struct("<IB")


class Kind(IntEnum):
    """What a message is."""

    SETUP = 1
    """To the child, first: JSON."""
    READY = 2
    """From the child: the tasks are loaded."""
    BROKEN = 3
    """From the child, last: why they are not."""
    FRAME = 4
    """To the child: an EngineFrame."""
    NEWS = 5
    """From the child."""


def pack(kind: Kind, body: bytes = b"") -> bytes:
    """A message as bytes."""
    return _HEAD.pack(len(body), kind) + body


def pack_news(news: News) -> bytes:
    """News as a message. Both ends are the same Python, so its own format will do: nothing is faster."""
    return pack(Kind.NEWS, marshal.dumps(tuple(news)))


def read_news(body: bytes) -> News:
    """The news in a message."""
    return News._make(marshal.loads(body))  # noqa: S302 - from our own child, which could do us worse


def read_setup(sock: socket.socket) -> dict[str, Any]:
    """Read the first message from a blocking socket."""
    size, kind = _HEAD.unpack(_read_exactly(sock, _HEAD.size))
    if kind != Kind.SETUP:
        raise ConnectionError(f"message {kind} came before the setup")
    setup: dict[str, Any] = json.loads(_read_exactly(sock, size))
    return setup


def _read_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise ConnectionError("the worker has gone")
        data += more
    return data


class Pipe(asyncio.Protocol):
    """One end. `receive` gets each message; `end` is called once when the other side has gone."""

    def __init__(
        self,
        receive: Callable[[int, bytes], None],
        end: Callable[[], None],
        resume: Callable[[], None] = lambda: None,
    ) -> None:
        """Make one for `loop.create_unix_connection`.

        Args:
            receive: Takes the kind and the body of each message.
            end: Takes the end of the connection.
            resume: Called when it may be written again after `full`.
        """
        self._receive = receive
        self._end = end
        self._resume = resume
        self._transport: asyncio.Transport | None = None
        self._rest = bytearray()
        self.full: bool = False
        """Whether the other side is slow to read, so that what can wait should."""

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """End the connection after what is still to be sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # a stream's, always

    def data_received(self, data: bytes) -> None:
        rest = self._rest
        rest += data
        at = 0
        while len(rest) - at >= _HEAD.size:
            size, kind = _HEAD.unpack_from(rest, at)
            end = at + _HEAD.size + size
            if len(rest) < end:
                break
            body = bytes(rest[at + _HEAD.size : end])
            at = end
            self._receive(kind, body)
        del rest[:at]

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._resume()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # whatever it was, the other side has gone
        self._transport = None
        self._end()
