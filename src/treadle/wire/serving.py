"""How a role serves a gRPC method: plain coroutines over messages, put on a server elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import grpc


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom an authenticated call works for: the tenant's number inside and its id outside."""

    tenant_id: int
    tenant: str
    token_id: str


class Refused(Exception):  # noqa: N818 - the contract's statuses that no error of the model stands for
    """Answer with exactly this status.

    Args:
        code: the gRPC status.
        message: its text.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Stream(Protocol):
    """The answering side of a streaming call."""

    async def write(self, message: Any) -> None:
        """Send one message; waits while the peer is slow."""
        ...


# Messages are Any here: a handler's own signature names its types, and the table below cannot know them all.
Unary: TypeAlias = Callable[[Any, Caller], Awaitable[Any]]
ServerStream: TypeAlias = Callable[[Any, Caller, Stream], Awaitable[None]]
BidiStream: TypeAlias = Callable[[AsyncIterator[Any], Caller, Stream], Awaitable[None]]
Handler: TypeAlias = Unary | ServerStream | BidiStream
Handlers: TypeAlias = dict[str, Handler]
"""Handlers by path, e.g. "/Dispatcher/Register"."""


class Served(Protocol):
    """A part of the engine that serves methods."""

    def handlers(self) -> Handlers:
        """What it serves."""
        ...
