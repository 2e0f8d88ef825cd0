"""Databases that come and go with a test."""

import asyncio
import threading
import uuid
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

T = TypeVar("T")


def run_apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread with a loop of its own: the loop of the test is not touched."""
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(coroutine))
        except BaseException as failure:  # noqa: BLE001 - raised again in the caller's thread
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def sibling(url: str, database: str) -> str:
    """The URL of another database on the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


@contextmanager
def new_database(server_url: str, *, template: str | None = None) -> Iterator[str]:
    """A database that exists within the block. Yields its URL."""
    name = f"treadle_test_{uuid.uuid4().hex}"
    source = f' TEMPLATE "{template}"' if template else ""
    run_apart(_execute(server_url, f'CREATE DATABASE "{name}"{source}'))
    try:
        yield sibling(server_url, name)
    finally:
        run_apart(_execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


def database_name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


async def _execute(url: str, statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
