"""A connection that plain functions can use, for tests that hypothesis drives."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import asyncpg

T = TypeVar("T")


class PlainConnection:
    """One connection on an event loop in a thread of its own."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.conn: asyncpg.Connection[asyncpg.Record] = self.wait(asyncpg.connect(url))

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        return self.wait(self.conn.fetch(query, *args))

    def execute(self, query: str, *args: object) -> str:
        return self.wait(self.conn.execute(query, *args))

    def close(self) -> None:
        self.wait(self.conn.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def plain_connection(url: str) -> Iterator[PlainConnection]:
    connection = PlainConnection(url)
    try:
        yield connection
    finally:
        connection.close()
