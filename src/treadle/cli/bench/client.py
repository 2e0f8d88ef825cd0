"""The benchmark's client, a process of its own: does what it is told, one order after the other.

Orders come in as lines of JSON, `{"do": "fill", "first": 0, "count": 1000}`; each is answered with a line of JSON when it
is done. It ends with its input.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.cli.bench.listing import time_listing
from treadle.cli.bench.targets import HatchetTarget, OwnTarget, Target, warm_up
from treadle.cli.bench.times import Times
from treadle.cli.bench.workers import TOKENS
from treadle.cli.parent import end_with_parent

if TYPE_CHECKING:
    from treadle.cli.bench.flows import Flows

SETUP = "TREADLE_BENCH_CLIENT"
CHUNK = 1000
_GAP_SECONDS = (0.01, 0.04)
# Event loops keep time in milliseconds; a shorter pause would be none at all, and the loop would spin.
_TIMER_SECONDS = 0.001


class Client:
    """The scenarios, as seen from the one who wants work done."""

    def __init__(self, setup: Mapping[str, Any]) -> None:
        self.own = [OwnTarget(token, setup["payload_bytes"]) for token in json.loads(os.environ[TOKENS])]
        self._targets: list[Target] = [*self.own] if setup["client"] == "treadle" else [HatchetTarget()]
        self._triggered = Times(Path(setup["triggered"]))
        self._finished = Times(Path(setup["finished"]))

    async def warm_up(self) -> None:
        for target in self._targets:
            await warm_up(target)

    async def throughput(self, first: int, count: int, window: int) -> None:
        """Chunks of a thousand, some of them at once; a new one as soon as one has come back whole."""
        at_once = asyncio.Semaphore(max(1, window // CHUNK))

        async def one_chunk(numbers: range) -> None:
            async with at_once:
                self._triggered.mark_range(numbers.start, len(numbers), time.monotonic_ns())
                await self._target(numbers.start // CHUNK).run_many(numbers)

        async with asyncio.TaskGroup() as group:
            for numbers in _chunks(first, count):
                group.create_task(one_chunk(numbers))

    async def latency(self, first: int, count: int, *, gaps: bool) -> None:
        """One run at a time. Random gaps make sure that no timer of the engine's is met in step."""
        pauses = random.Random(1)  # noqa: S311 - the same gaps each time
        for number in range(first, first + count):
            if gaps:
                await asyncio.sleep(pauses.uniform(*_GAP_SECONDS))
            self._triggered.mark(number)
            await self._target(number).run_one(number)
            self._finished.mark(number)

    async def fill(self, first: int, count: int, at_once: int) -> None:
        """Start all, await none; some requests are under way at once."""
        chunks = iter(list(_chunks(first, count)))

        async def lane() -> None:
            for numbers in chunks:
                self._triggered.mark_range(numbers.start, len(numbers), time.monotonic_ns())
                await self._target(numbers.start // CHUNK).start_many(numbers)
                self._finished.mark_range(numbers.start, len(numbers), time.monotonic_ns())

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(lane())

    async def dag(self, shape: str, runs: int, chunk: int) -> None:
        """Runs of a workflow in chunks, two at once."""
        flow = self._flows.by_shape[shape]
        at_once = asyncio.Semaphore(2)

        async def one_chunk(numbers: range) -> None:
            async with at_once:
                await flow.run_many(numbers)

        async with asyncio.TaskGroup() as group:
            for numbers in _chunks(0, runs, chunk):
                group.create_task(one_chunk(numbers))

    async def fanout(self, children: int) -> None:
        """One task that starts others."""
        await self._flows.spawn(children)

    async def sustained(self, first: int, count: int, rate: float) -> None:
        """Start tasks on schedule, whatever the queue does; the moment noted is the one intended."""
        began = time.monotonic_ns()
        pause = 1e9 / rate
        under_way: set[asyncio.Task[None]] = set()
        for number in range(count):
            due = began + int(number * pause)
            await _until(due)
            self._triggered.set(first + number, due)
            task = asyncio.ensure_future(self._target(number).start_one(first + number))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            if number % 100 == 0:
                await asyncio.sleep(0)  # behind schedule there is no pause: let the requests leave all the same
        while under_way:
            await asyncio.gather(*under_way)

    @cached_property
    def _flows(self) -> "Flows":
        from treadle.cli.bench.flows import Flows

        return Flows(self.own[0].app)

    def _target(self, number: int) -> Target:
        return self._targets[number % len(self._targets)]


async def _until(moment: int) -> None:
    ahead = moment - time.monotonic_ns()
    if ahead > 0:
        await asyncio.sleep(max(ahead / 1e9, _TIMER_SECONDS))


def _chunks(first: int, count: int, size: int = CHUNK) -> list[range]:
    end = first + count
    return [range(start, min(start + size, end)) for start in range(first, end, size)]


async def obey(client: Client, order: dict[str, Any]) -> dict[str, Any]:
    """Carry out one order; what came of it."""
    name = order.pop("do")
    if name == "list":
        return await asyncio.to_thread(time_listing, client.own[0].app.gateway, **order)
    scenarios: dict[str, Callable[..., Awaitable[None]]] = {
        "warm_up": client.warm_up,
        "throughput": client.throughput,
        "latency": client.latency,
        "fill": client.fill,
        "sustained": client.sustained,
        "dag": client.dag,
        "fanout": client.fanout,
    }
    began = time.monotonic_ns()
    await scenarios[name](**order)
    return {"began_ns": began, "ended_ns": time.monotonic_ns()}


async def main() -> None:
    client = Client(json.loads(os.environ[SETUP]))
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await obey(client, json.loads(line))), flush=True)


if __name__ == "__main__":
    end_with_parent()
    if json.loads(os.environ[SETUP])["client"] == "treadle":
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
