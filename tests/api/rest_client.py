"""A served app on a thread of its own, and a small HTTP client for it."""

import asyncio
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

from starlette.types import ASGIApp

from treadle.api.serve import HttpServer

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Answer:
    status_code: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


class RestClient:
    """One connection per request: tests are independent of keep-alive."""

    def __init__(self, port: int) -> None:
        self._port = port

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        content: bytes | Iterable[bytes] | None = None,
    ) -> Answer:
        sent = dict(headers or {})
        if params:
            path += "?" + urlencode(params, doseq=True)
        if body is not None:
            content = json.dumps(body).encode()
        if content is not None:
            sent.setdefault("Content-Type", "application/json")
        connection = HTTPConnection(HOST, self._port, timeout=20)
        try:
            connection.request(method, path, body=content, headers=sent)
            answer = connection.getresponse()
            seen = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, seen, answer.read().decode())
        finally:
            connection.close()

    def get(self, path: str, **more: Any) -> Answer:
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> Answer:
        return self.request("POST", path, **more)

    def patch(self, path: str, **more: Any) -> Answer:
        return self.request("PATCH", path, **more)


@contextmanager
def served(app: ASGIApp) -> Iterator[RestClient]:
    """Serve `app` until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="rest under test")
    thread.start()
    server = HttpServer(app)
    try:
        port = asyncio.run_coroutine_threadsafe(server.start(HOST, 0), loop).result(20)
        yield RestClient(port)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
