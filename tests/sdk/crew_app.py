"""An app for workers of several processes: `python -m tests.sdk.crew_app ADDRESS GRACE PROCESSES` starts one."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import threading
import time
from datetime import timedelta

from tests.sdk.peer import TOKEN
from treadle import Context, NonRetryable, Treadle

app = Treadle(TOKEN, sys.argv[1]) if len(sys.argv) > 1 and ":" in sys.argv[1] else Treadle()
never = threading.Event()


@app.task
async def where(ctx: Context) -> list[int]:
    """Which process this is, and which one started it."""
    ctx.log("in", "WARN", n=1)
    return [os.getpid(), os.getppid()]


@app.task
async def echo(text: str) -> str:
    return text


@app.task
def fails(message: str) -> None:
    raise NonRetryable(message)


@app.task
async def parent(ctx: Context, n: int) -> list[str]:
    """Starts children through a client of its own process."""
    return list(await echo.run_many({"text": f"{ctx.task}-{number}"} for number in range(n)))


@app.task
async def obedient(ctx: Context, seconds: float) -> str:
    """Ends after its time, or when it is interrupted."""
    ctx.log("in", pid=os.getpid())
    try:
        await asyncio.sleep(seconds)
    finally:
        ctx.log(f"out: {ctx.cancel_reason}")
    return "done"


@app.task
def patient(ctx: Context) -> str:
    """Looks at the flag."""
    ctx.log("in")
    while not ctx.cancelled:
        time.sleep(0.01)
    ctx.log(f"out: {ctx.cancel_reason}")
    return "done"


@app.task
def stubborn(ctx: Context) -> None:
    """Never ends, whatever it is told."""
    ctx.log("in")
    never.wait()


@app.task
async def leaves() -> None:
    """Ends its process each time."""
    os._exit(3)


@app.task
async def leaves_once(ctx: Context) -> int:
    """Ends its process the first time."""
    if ctx.attempt == 1:
        ctypes.string_at(0)
    return ctx.attempt


if __name__ == "__main__":
    app.run_worker(processes=int(sys.argv[3]), slots=5, grace=timedelta(seconds=float(sys.argv[2])))
