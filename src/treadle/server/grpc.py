"""The gRPC server: every method of both contracts, each behind the token check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import grpc
import structlog

from treadle.model.errors import PermissionDenied, TreadleError
from treadle.wire.contract import INTERNAL_METHODS, METHODS
from treadle.wire.serving import BidiStream, Refused, ServerStream, Unary
from treadle.wire.status import status_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from treadle.server.tokens import Gate
    from treadle.wire.contract import Method
    from treadle.wire.serving import Caller, Handler, Handlers

_log = structlog.get_logger()

_Context = grpc.aio.ServicerContext[Any, Any]

_OPTIONS = (
    # SDKs ping every 10 s on idle channels; grpc's own default closes such a channel after a few pings.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 4000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 4000),
    ("grpc.http2.max_pings_without_data", 0),
    # A dead peer is found without traffic of its own.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.so_reuseport", 0),
)


_INTERNAL = "/treadle.internal."


def build_server(handlers: Handlers, gate: Gate, *, max_message_bytes: int) -> grpc.aio.Server:
    """A server of all methods: those in `handlers`, and the rest of the contract answering UNIMPLEMENTED.

    Args:
        handlers: what the roles serve, by path.
        gate: checks tokens.
        max_message_bytes: largest message, both ways.
    """
    server = grpc.aio.server(
        options=[
            *_OPTIONS,
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
        ]
    )
    services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    for path, method in (METHODS | INTERNAL_METHODS).items():
        _, service, name = path.split("/")
        services.setdefault(service, {})[name] = _method_handler(method, handlers.get(path), gate)
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(service, methods) for service, methods in services.items())
    )
    return server


def _method_handler(method: Method, handler: Handler | None, gate: Gate) -> grpc.RpcMethodHandler[Any, Any]:
    decode = method.request_class.FromString
    encode = method.response_class.SerializeToString
    if method.client_streaming:
        behavior = _bidi(method.path, cast("BidiStream", handler or _unimplemented_stream(method.path)), gate)
        return grpc.stream_stream_rpc_method_handler(behavior, decode, encode)
    if method.server_streaming:
        stream = _server_stream(method.path, cast("ServerStream", handler or _unimplemented_stream(method.path)), gate)
        return grpc.unary_stream_rpc_method_handler(stream, decode, encode)
    unary = _unary(method.path, cast("Unary", handler or _unimplemented(method.path)), gate)
    return grpc.unary_unary_rpc_method_handler(unary, decode, encode)


def _unary(path: str, handler: Unary, gate: Gate) -> Callable[[Any, _Context], Awaitable[Any]]:
    async def serve(request: Any, context: _Context) -> Any:
        try:
            return await handler(request, await _caller(context, gate, path))
        except Exception as error:  # noqa: BLE001 - every failure becomes a status
            await _abort(error, context, path)

    return serve


def _server_stream(path: str, handler: ServerStream, gate: Gate) -> Callable[[Any, _Context], Awaitable[None]]:
    async def serve(request: Any, context: _Context) -> None:
        try:
            await handler(request, await _caller(context, gate, path), context)
        except Exception as error:  # noqa: BLE001 - every failure becomes a status
            await _abort(error, context, path)

    return serve


def _bidi(path: str, handler: BidiStream, gate: Gate) -> Callable[[AsyncIterator[Any], _Context], Awaitable[None]]:
    async def serve(requests: AsyncIterator[Any], context: _Context) -> None:
        try:
            await handler(requests, await _caller(context, gate, path), context)
        except Exception as error:  # noqa: BLE001 - every failure becomes a status
            await _abort(error, context, path)

    return serve


async def _caller(context: _Context, gate: Gate, path: str) -> Caller:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            scheme, _, token = str(value).partition(" ")
            if scheme.lower() != "bearer":
                raise _NoEntry("authorization", "must be of the form: bearer <token>")
            try:
                if path.startswith(_INTERNAL):
                    return gate.check_engine(token.strip())
                return await gate.check(token.strip())
            except PermissionDenied as refusal:
                raise _NoEntry(refusal.field, refusal.message) from None
    raise _NoEntry("authorization", "is missing: send it as metadata, of the form: bearer <token>")


class _NoEntry(PermissionDenied):
    """The caller could not be authenticated."""


async def _abort(error: Exception, context: _Context, path: str) -> None:
    match error:
        case _NoEntry():
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        case Refused():
            await context.abort(error.code, error.message)
        case TreadleError():
            await context.abort(status_of(error), str(error))
        case _ if _peer_is_gone(error):
            return
        case _:
            _log.error("a call failed", path=path, error=repr(error), exc_info=error)
            await context.abort(grpc.StatusCode.INTERNAL, f"{path} failed; the engine's log says why")


def _peer_is_gone(error: Exception) -> bool:
    """Whether a stream broke because the other side, or this server, went away."""
    return isinstance(
        error, (grpc.RpcError, grpc.aio.UsageError, grpc.aio.InternalError)
    ) or "RPC already finished" in str(error)


def _unimplemented(path: str) -> Unary:
    async def answer(request: Any, caller: Caller) -> Any:
        del request, caller
        raise Refused(grpc.StatusCode.UNIMPLEMENTED, _not_yet(path))

    return answer


def _unimplemented_stream(path: str) -> Callable[[Any, Caller, Any], Awaitable[None]]:
    async def answer(requests: Any, caller: Caller, stream: Any) -> None:
        del requests, caller, stream
        raise Refused(grpc.StatusCode.UNIMPLEMENTED, _not_yet(path))

    return answer


def _not_yet(path: str) -> str:
    return f"{path} is part of the contract, but this version of Treadle does not serve it yet"
