"""The benchmark's client, a process of its own: warms up, waits for the word, works, reports.

Talks with the driver in lines of JSON: `{"ready": true}` out, any line in, `{"began_ns": .., "ended_ns": ..}` out.
"""

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from treadle.cli.bench.targets import HatchetTarget, OwnTarget, Target, warm_up
from treadle.cli.bench.times import Times
from treadle.cli.parent import end_with_parent

CHUNK = 1000
_GAP_SECONDS = (0.01, 0.04)


async def throughput(target: Target, triggered: Times, *, window: int) -> None:
    """Chunks of a thousand, some of them at once; a new one as soon as one has come back whole."""
    at_once = asyncio.Semaphore(max(1, window // CHUNK))

    async def one_chunk(numbers: range) -> None:
        async with at_once:
            triggered.mark_range(numbers.start, len(numbers), time.monotonic_ns())
            await target.run_many(numbers)

    async with asyncio.TaskGroup() as group:
        for first in range(0, len(triggered), CHUNK):
            group.create_task(one_chunk(range(first, min(first + CHUNK, len(triggered)))))


async def latency(target: Target, triggered: Times, finished: Times) -> None:
    """One run at a time, with random gaps so that no timer of the engine's is met in step."""
    gaps = random.Random(1)  # noqa: S311 - the same gaps each time
    for number in range(len(triggered)):
        await asyncio.sleep(gaps.uniform(*_GAP_SECONDS))
        triggered.mark(number)
        await target.run_one(number)
        finished.mark(number)


async def fill(target: Target, triggered: Times) -> None:
    """Start all, await none."""
    for first in range(0, len(triggered), CHUNK):
        numbers = range(first, min(first + CHUNK, len(triggered)))
        triggered.mark_range(first, len(numbers), time.monotonic_ns())
        await target.start_many(numbers)


async def main(plan: dict[str, Any]) -> None:
    target: Target = HatchetTarget() if plan["client"] == "hatchet" else OwnTarget()
    triggered = Times(Path(plan["triggered"]))
    await warm_up(target)
    _say({"ready": True})
    await asyncio.to_thread(sys.stdin.readline)
    began = time.monotonic_ns()
    if plan["scenario"] == "throughput":
        await throughput(target, triggered, window=plan["window"])
    elif plan["scenario"] == "latency":
        await latency(target, triggered, Times(Path(plan["finished"])))
    else:
        await fill(target, triggered)
    _say({"began_ns": began, "ended_ns": time.monotonic_ns()})


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    end_with_parent()
    if sys.argv[1:2] and json.loads(sys.argv[1])["client"] == "treadle":
        import uvloop

        uvloop.run(main(json.loads(sys.argv[1])))
    else:
        asyncio.run(main(json.loads(sys.argv[1])))
