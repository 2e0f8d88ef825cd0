"""Waiting for results: all waits of an app share one stream, which comes back after a break."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio

from treadle.sdk.errors import ConnectionProblem
from treadle.sdk.io import Reply, settle_all
from treadle.sdk.pauses import Pauses, told_to_stop
from treadle.wire.gen.treadle.v1 import runs_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from treadle.sdk.gateway import Gateway

EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined] # missing in the stubs
"""What a stream reads at its end."""

_PATH = "/treadle.v1.Runs/Await"
_IDS_PER_MESSAGE = 5_000
_HEALS = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)


class Results:
    """A wait for many runs as one, which are told of as they are started. On the I/O thread.

    Used as a context: what has not come at its end is not waited for any more.
    """

    def __init__(self, stream: ResultStream) -> None:
        self._stream = stream
        self._missing: dict[str, None] = {}
        self._found: dict[str, runs_pb2.RunResult] = {}
        self._error: Exception | None = None
        self._news = asyncio.Event()

    def expect(self, run_ids: Iterable[str]) -> None:
        """Wait for these runs as well; the same child may have been started twice."""
        fresh = dict.fromkeys(run_id for run_id in run_ids if run_id not in self._found and run_id not in self._missing)
        self._missing |= fresh
        self._stream.watch_each(fresh, self)

    async def of(self, run_ids: list[str]) -> list[runs_pb2.RunResult]:
        """The results of the runs that were expected, in the order of these ids."""
        while self._missing and self._error is None:
            self._news.clear()
            await self._news.wait()
        if self._error is not None:
            raise self._error
        found = self._found
        return [found[run_id] for run_id in run_ids]

    def add(self, result: runs_pb2.RunResult) -> None:
        self._found[result.run_id] = result
        del self._missing[result.run_id]
        if not self._missing:
            self._news.set()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._news.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        for run_id in self._missing:
            self._stream.forget(run_id, self)


class ResultStream:
    """Who waits for which run, and the stream that brings the results."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._waiters: dict[str, list[Reply[Any] | Results]] = {}
        self._unsent: list[str] = []
        self._wanted = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def add(self, run_id: str, reply: Reply[Any]) -> None:
        """Settle the reply with the run's result once it is known; from any thread."""
        self._gateway.io.post(self.watch, run_id, reply)

    def discard(self, run_id: str, reply: Reply[Any]) -> None:
        """Forget a reply that nobody waits for any more; from any thread."""
        self._gateway.io.post(self.forget, run_id, reply)

    def watch(self, run_id: str, reply: Reply[Any]) -> None:
        """As `add`, on the I/O thread."""
        self.watch_each((run_id,), reply)

    def bulk(self) -> Results:
        """A wait for many runs; on the I/O thread."""
        return Results(self)

    def watch_each(self, run_ids: Iterable[str], waiter: Reply[Any] | Results) -> None:
        """Let each of these results come to the waiter; on the I/O thread."""
        known = self._waiters
        ask = self._unsent.append
        for run_id in run_ids:
            waiters = known.get(run_id)
            if waiters is not None:
                waiters.append(waiter)
            else:
                known[run_id] = [waiter]
                ask(run_id)
        if not self._unsent:
            return
        self._wanted.set()
        if self._running is None or self._running.done():
            self._running = self._gateway.io.spawn(self._run())

    def forget(self, run_id: str, waiter: Reply[Any] | Results) -> None:
        """As `discard`, on the I/O thread."""
        waiters = self._waiters.get(run_id)
        if waiters is not None and waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[run_id]

    def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> None:
        pauses = Pauses()
        try:
            while self._waiters:
                if await self._one_stream():
                    pauses.reset()
                if self._waiters:
                    await asyncio.sleep(pauses.next())
        except asyncio.CancelledError:
            self._fail(ConnectionProblem("lost", "the connection was closed while a result was awaited"))
            raise
        except Exception as error:  # noqa: BLE001 - it belongs to the callers
            self._fail(error)

    async def _one_stream(self) -> bool:
        """Stream until it breaks; returns whether it brought anything, raises what does not heal by waiting."""
        try:
            await self._gateway.ready()
            return await self._stream()
        except ConnectionProblem as problem:
            # Results wait as long as their callers do: an engine that was there is expected back.
            if problem.mistake != "not-running" or not self._gateway.was_ready:
                raise
        except grpc.aio.AioRpcError as error:
            if error.code() not in _HEALS:
                raise self._gateway.explain(error, _PATH) from None
        except asyncio.CancelledError:
            if told_to_stop():
                raise
        return False

    def _fail(self, error: Exception) -> None:
        replies: list[Reply[Any]] = []
        for waiters in self._waiters.values():
            for waiter in waiters:
                if isinstance(waiter, Results):
                    waiter.fail(error)
                else:
                    replies.append(waiter)
        self._waiters.clear()
        self._unsent.clear()
        settle_all((reply, error) for reply in replies)

    async def _stream(self) -> bool:
        """One life of the stream; returns whether it brought anything."""
        call = self._gateway.stub(_PATH)(metadata=self._gateway.connection.metadata)
        self._unsent = list(self._waiters)
        self._wanted.set()
        writer = asyncio.ensure_future(self._write(call))
        brought = False
        try:
            while (response := await call.read()) is not EOF:
                brought = True
                self._hand_out(response)
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            call.cancel()
        return brought

    async def _write(self, call: Any) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            ids, self._unsent = self._unsent, []
            for start in range(0, len(ids), _IDS_PER_MESSAGE):
                await call.write(runs_pb2.AwaitRequest(run_ids=ids[start : start + _IDS_PER_MESSAGE]))

    def _hand_out(self, response: runs_pb2.AwaitResponse) -> None:
        answers: list[tuple[Reply[Any], Any]] = []
        for result in response.results:
            for waiter in self._waiters.pop(result.run_id, ()):
                if type(waiter) is Results:
                    waiter.add(result)
                else:
                    answers.append((waiter, result))  # type: ignore[arg-type] # nothing else is left
        settle_all(answers)
