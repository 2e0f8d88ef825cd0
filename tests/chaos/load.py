"""A client under chaos: it starts runs, waits for their results, and writes down what it was told."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import grpc
import grpc.aio

from tests.chaos.history import ClientLog, Observed
from tests.chaos.plan import TASK
from tests.chaos.raw import RawClient
from treadle.model.states import RunStatus
from treadle.wire.gen.treadle.v1 import runs_pb2

BATCH = 100
SENDERS = 4
ASKED_AT_ONCE = 1000
PAUSE_AFTER_FAILURE = 0.05

# After these nobody knows whether the runs exist. Every other status is a definite refusal.
UNCERTAIN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
}


class LoadClient:
    """Starts `wanted` acknowledged runs and reads the result of each, whatever happens to the engine meanwhile.

    As fast as it can, or `rate` runs a second, `batch` in a call. The senders take turns at the `senders`, by default at
    `client` alone.
    """

    def __init__(
        self,
        client: RawClient,
        wanted: int,
        *,
        task: str = TASK,
        rate: float | None = None,
        batch: int = BATCH,
        senders: Sequence[RawClient] = (),
    ) -> None:
        self.log = ClientLog()
        self._client = client
        self._task = task
        self._rate = rate
        self._batch = batch
        self._senders = senders or [client]
        self._wanted = wanted
        self._next_number = 0
        self._new_ids: asyncio.Queue[list[str]] = asyncio.Queue()
        self._all_started = asyncio.Event()

    @property
    def acknowledged(self) -> int:
        return len(self.log.acknowledged)

    @property
    def in_flight(self) -> int:
        """Runs that are acknowledged, and of whose fate nothing is known yet."""
        log = self.log
        return len(log.acknowledged) - len(log.observed.keys() | log.vanished)

    def __repr__(self) -> str:
        log = self.log
        return (
            f"{self.acknowledged} acknowledged, {self.in_flight} in flight, {len(log.uncertain)} uncertain,"
            f" {len(log.refused)} refused {dict(islice(log.refused.items(), 2))}, {len(log.vanished)} vanished"
        )

    async def run(self) -> None:
        """Returns when every acknowledged run's result was seen."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._start_all())
            group.create_task(self._watch_all())

    # -- starting ---------------------------------------------------------------------------------------------------

    async def _start_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            began = asyncio.get_running_loop().time()
            for number in range(SENDERS):
                group.create_task(self._send_batches(self._senders[number % len(self._senders)], began))
        self._all_started.set()
        self._new_ids.put_nowait([])  # wakes the watcher

    async def _send_batches(self, client: RawClient, began: float) -> None:
        while self.acknowledged < self._wanted:
            numbers = range(self._next_number, self._next_number + self._batch)
            self._next_number += self._batch
            if self._rate is not None:
                due = began + numbers.start / self._rate
                await asyncio.sleep(max(due - asyncio.get_running_loop().time(), 0))
            if not await self._send(client, numbers):
                # A number is never sent twice: it may exist already. Only the pace is lowered.
                await asyncio.sleep(PAUSE_AFTER_FAILURE)

    async def _send(self, client: RawClient, numbers: Sequence[int]) -> bool:
        runs = [runs_pb2.NewRun(task=self._task, input=json.dumps({"number": n}).encode()) for n in numbers]
        try:
            response = await client.call(
                "/treadle.v1.Runs/Start", runs_pb2.StartRequest(runs=runs), runs_pb2.StartResponse
            )
        except grpc.aio.AioRpcError as error:
            if error.code() in UNCERTAIN:
                self.log.uncertain.update(numbers)
            else:
                self.log.refused.update(dict.fromkeys(numbers, f"{error.code()}: {error.details()}"))
            return False
        started: list[str] = []
        for number, outcome in zip(numbers, response.outcomes, strict=True):
            if outcome.run_id:
                self.log.acknowledged[outcome.run_id] = number
                started.append(outcome.run_id)
            else:
                self.log.refused[number] = str(outcome.problem)
        self._new_ids.put_nowait(started)
        return len(started) == len(numbers)

    # -- watching ---------------------------------------------------------------------------------------------------

    async def _watch_all(self) -> None:
        while not self._done():
            try:
                await self._watch_one_stream()
            except grpc.aio.AioRpcError as error:
                if error.code() not in UNCERTAIN:
                    raise
                await asyncio.sleep(PAUSE_AFTER_FAILURE)

    async def _watch_one_stream(self) -> None:
        method: Any = self._client.channel.stream_stream(
            "/treadle.v1.Runs/Await",
            request_serializer=runs_pb2.AwaitRequest.SerializeToString,
            response_deserializer=runs_pb2.AwaitResponse.FromString,
        )
        call = method(metadata=self._client.metadata, wait_for_ready=True)
        asking = asyncio.create_task(self._ask(call))
        try:
            async for response in call:
                for result in response.results:
                    self._observe(result)
                if self._done():
                    return
        finally:
            call.cancel()
            asking.cancel()
            await asyncio.wait({asking})

    async def _ask(self, call: Any) -> None:
        # A new stream asks for all runs again, also for those already seen: an old result must not look different.
        # It has a queue of its own, so that nothing is left in a request that the broken one never sent.
        new_ids = self._new_ids = asyncio.Queue()
        known = list(self.log.acknowledged)
        with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):  # the reader is told the same, and why
            for start in range(0, len(known), ASKED_AT_ONCE):
                await call.write(runs_pb2.AwaitRequest(run_ids=known[start : start + ASKED_AT_ONCE]))
            while True:
                if ids := await new_ids.get():
                    await call.write(runs_pb2.AwaitRequest(run_ids=ids))

    def _observe(self, result: runs_pb2.RunResult) -> None:
        if result.not_found:
            self.log.vanished.add(result.run_id)
        else:
            seen = Observed(RunStatus(result.status), result.output, result.error)
            self.log.observed[result.run_id].add(seen)

    def _done(self) -> bool:
        return self._all_started.is_set() and self.in_flight <= 0
