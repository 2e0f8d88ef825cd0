"""The HTTP server inside a running loop."""

import asyncio
import signal
from http.client import HTTPConnection

import pytest
from starlette.responses import PlainTextResponse

from treadle.api.serve import HttpServer

HOST = "127.0.0.1"


def _get(port: int) -> tuple[int, bytes, str | None]:
    connection = HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.getheader("server")
    finally:
        connection.close()


async def test_serves_on_a_free_port_until_stopped() -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    server = HttpServer(PlainTextResponse("hello"))
    port = await server.start(HOST, 0)
    assert port > 0
    assert await asyncio.to_thread(_get, port) == (200, b"hello", None)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    await server.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(_get, port)
    await server.stop()


async def test_a_taken_port_is_an_error() -> None:
    first, second = HttpServer(PlainTextResponse("1")), HttpServer(PlainTextResponse("2"))
    port = await first.start(HOST, 0)
    with pytest.raises(OSError, match="in use"):
        await second.start(HOST, port)
    await second.stop()
    await first.stop()
