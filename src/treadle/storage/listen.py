"""LISTEN on a connection of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from treadle.storage.database import connect

if TYPE_CHECKING:
    from collections.abc import Callable


async def listen(url: str, channel: str, heard: Callable[[str], None]) -> None:
    """Call `heard` with each payload until the connection ends.

    Raises:
        Unavailable: the database is out of reach.
    """
    conn = await connect(url, name="treadle hints")
    ended = asyncio.Event()
    try:
        conn.add_termination_listener(lambda _conn: ended.set())
        await conn.add_listener(channel, lambda _conn, _pid, _channel, payload: heard(str(payload)))
        await ended.wait()
    finally:
        await conn.close(timeout=1)
