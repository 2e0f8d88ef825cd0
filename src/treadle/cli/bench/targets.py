"""The two SDKs behind one face: what the benchmark's client asks of them."""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

_HEADER = "x" * 16


class Target(Protocol):
    """Starts runs of the task by number, and checks what comes back."""

    async def run_many(self, numbers: range) -> None:
        """Start them in one request and await all results."""
        ...

    async def start_many(self, numbers: range) -> None:
        """Start them in one request, without waiting for results."""
        ...

    async def start_one(self, number: int) -> None:
        """Start one, without waiting for its result."""
        ...

    async def run_one(self, number: int) -> None:
        """Start one and await its result."""
        ...


class OwnTarget:
    """Through Treadle's SDK.

    Args:
        token: whose tenant's; None: the environment's.
        payload_bytes: size of inputs and results.
    """

    def __init__(self, token: str | None = None, payload_bytes: int = 0) -> None:
        from treadle.cli.bench.tasks import ECHO, NOOP, make_app

        self.app = make_app(token)
        self._data = (_HEADER * (payload_bytes // len(_HEADER) + 1))[:payload_bytes]
        self._task = self.app.tasks[ECHO if payload_bytes else NOOP]

    async def run_many(self, numbers: range) -> None:
        _check(
            [self._result(number) for number in numbers],
            await self._task.run_many(self._input(number) for number in numbers),
        )

    async def start_many(self, numbers: range) -> None:
        await self._task.start_many(self._input(number) for number in numbers)

    async def start_one(self, number: int) -> None:
        await self._task.start(**self._input(number))

    async def run_one(self, number: int) -> None:
        _check(self._result(number), await self._task.run(**self._input(number)))

    def _input(self, number: int) -> Mapping[str, Any]:
        return {"i": number, "data": self._data} if self._data else {"i": number}

    def _result(self, number: int) -> object:
        return self._data or number


class HatchetTarget:
    """Through the official Hatchet SDK."""

    def __init__(self) -> None:
        from treadle.cli.bench.hatchet_tasks import Number, bench_noop

        self._task = bench_noop
        self._number = Number

    async def run_many(self, numbers: range) -> None:
        items = [self._task.create_bulk_run_item(self._number(i=number)) for number in numbers]
        _check([{"i": number} for number in numbers], await self._task.aio_run_many(items))

    async def start_many(self, numbers: range) -> None:
        items = [self._task.create_bulk_run_item(self._number(i=number)) for number in numbers]
        await self._task.aio_run_many(items, wait_for_result=False)

    async def start_one(self, number: int) -> None:
        await self._task.aio_run(self._number(i=number), wait_for_result=False)

    async def run_one(self, number: int) -> None:
        _check({"i": number}, await self._task.aio_run(self._number(i=number)))


def _check(expected: object, result: object) -> None:
    if result != expected:
        raise AssertionError(f"expected {expected!r:.200}, got {result!r:.200}")


async def warm_up(target: Target, *, seconds: float = 60.0) -> None:
    """Run a few tasks, so that connections, plans and caches are there; waits for the worker to be there first."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            await asyncio.wait_for(target.run_one(-1), 10)
        except Exception:
            # The task is unknown until the worker has registered it; each SDK says so in its own way.
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            break
    await target.run_many(range(-200, 0))
