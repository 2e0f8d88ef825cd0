"""Serve an ASGI app inside a process that has other work to do: no signal handlers, no chatter."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

_STOP_SECONDS = 5


class _QuietServer(uvicorn.Server):
    """A uvicorn server that leaves SIGINT and SIGTERM to the process it lives in."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """Listens on one address until `stop`."""

    def __init__(self, app: ASGIApp) -> None:
        self._server = _QuietServer(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=_STOP_SECONDS,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port, which is a free one when `port` is 0. Raises OSError when the address is taken."""
        listener = _listen(host, port)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]), name="http")
        # The socket listens already: a client that connects now is served as soon as the loop gets there.
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """Take no more requests and let those under way finish, for a few seconds."""
        if self._serving is None:
            return
        self._server.should_exit = True
        await self._serving
        self._serving = None


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
