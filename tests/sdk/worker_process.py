"""A worker in a process of its own, for the tests of signals: `python -m tests.sdk.worker_process ADDRESS GRACE`."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from datetime import timedelta

from tests.sdk.peer import TOKEN
from treadle import Context, Treadle

app = Treadle(TOKEN, sys.argv[1])
never = threading.Event()


@app.task
async def obedient(ctx: Context, seconds: float) -> str:
    """Ends after its time, or when it is interrupted."""
    ctx.log("in")
    await asyncio.sleep(seconds)
    return "done"


@app.task
def stubborn(ctx: Context) -> None:
    """Never ends, whatever it is told."""
    ctx.log("in")
    never.wait()


@app.task
async def blocking(ctx: Context) -> None:
    """Blocks the event loop for good."""
    ctx.log("in")
    while True:
        time.sleep(0.01)  # noqa: ASYNC251 - the mistake to survive


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    app.run_worker(grace=timedelta(seconds=float(sys.argv[2])))
