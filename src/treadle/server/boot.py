"""Boot: runs an engine in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from typing import TYPE_CHECKING

import structlog

from treadle.runtime.connection import ConnectionInfo
from treadle.server.engine import RunningEngine, cancel
from treadle.server.ready import remove_ready, write_ready

if TYPE_CHECKING:
    from treadle.server.settings import Settings

_log = structlog.get_logger()

__all__ = ["RunningEngine", "run_engine"]


async def run_engine(settings: Settings) -> None:
    """Run an engine until SIGTERM or SIGINT.

    Raises:
        Unavailable: a port or the database cannot be had.
    """
    # Tens of thousands of short-lived objects a second, none of them in cycles: look for cycles rarely.
    gc.set_threshold(200_000, 20, 50)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    engine = RunningEngine(settings)
    starting = asyncio.create_task(engine.start())
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        await cancel(starting)
        return
    starting.result()
    info = ConnectionInfo(
        http_url=engine.http_url,
        grpc_address=engine.grpc_address,
        database_url=engine.database_url,
        token=engine.token,
        pid=os.getpid(),
    )
    try:
        write_ready(settings, info)
        _log.info("ready", grpc=engine.grpc_address, http=engine.http_url)
        broken = asyncio.create_task(engine.broken.wait())
        await asyncio.wait({stop, broken}, return_when=asyncio.FIRST_COMPLETED)
        broken.cancel()
        if engine.error is not None:
            raise engine.error
    finally:
        stop.cancel()
        remove_ready(settings, info)
        await engine.stop()
        _log.info("stopped")
