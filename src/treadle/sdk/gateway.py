"""The app's connection to one engine: calls, retries where they are safe, and errors in words."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from treadle.sdk.call import Call
from treadle.sdk.connection import open_channel
from treadle.sdk.diagnose import probe
from treadle.sdk.errors import ConnectionProblem
from treadle.sdk.io import IoThread, io_thread
from treadle.sdk.pauses import Pauses, told_to_stop
from treadle.sdk.results import ResultStream
from treadle.sdk.starts import Starter
from treadle.wire.contract import METHODS
from treadle.wire.gen.treadle.v1 import runs_pb2
from treadle.wire.status import error_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from google.protobuf.message import Message

    from treadle.model.errors import TreadleError
    from treadle.sdk.connection import Connection

T = TypeVar("T")
R = TypeVar("R")

FIRST_CONNECT_SECONDS = 3.0
"""How long a first call waits for an engine: short, as the likely reason is that none was started."""

RECONNECT_SECONDS = 30.0
"""How long a call waits when the engine was there before: long enough for it to restart."""

_CALL_SECONDS = 60.0


class Gateway:
    """One channel to one engine. All coroutines run on the I/O thread."""

    def __init__(
        self,
        connection: Connection,
        *,
        first_connect_seconds: float = FIRST_CONNECT_SECONDS,
        reconnect_seconds: float = RECONNECT_SECONDS,
    ) -> None:
        self.connection = connection
        self.io: IoThread = io_thread()
        self._first_connect_seconds = first_connect_seconds
        self._reconnect_seconds = reconnect_seconds
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, Any] = {}
        self.was_ready: bool = False
        self._probing = asyncio.Lock()
        self.starts: Starter = Starter(self, repeatable=False)
        # Children are named by parent and index (or key): starting one twice yields the same run.
        self.child_starts: Starter = Starter(self, repeatable=True)
        self.results: ResultStream = ResultStream(self)

    def call(self, what: str, make: Callable[[], Coroutine[Any, Any, R]], finish: Callable[[R], T]) -> Call[T]:
        """A user-facing call that runs a coroutine on the I/O thread."""
        return Call(what, lambda reply: self.io.submit(make, reply), finish)

    # -- the channel -----------------------------------------------------------------------------------------------

    def stub(self, path: str, *, encoded: bool = False) -> Any:
        """The callable of a method, which takes messages or, with `encoded`, their bytes; only from the I/O thread."""
        stub = self._methods.get(path)
        if stub is None:
            if self._channel is None:
                self._channel = open_channel(self.connection)
                self.io.at_close(self.close)
            method = METHODS[path]
            kind = ("stream" if method.client_streaming else "unary") + (
                "_stream" if method.server_streaming else "_unary"
            )
            stub = self._methods[path] = getattr(self._channel, kind)(
                path,
                request_serializer=None if encoded else method.request_class.SerializeToString,
                response_deserializer=method.response_class.FromString,
            )
        return stub

    async def close(self) -> None:
        """End the channel and everything that waits on it."""
        channel, self._channel = self._channel, None
        self._methods.clear()
        self.results.stop()
        if channel is not None:
            await channel.close(grace=0)
            self.io.forget_close(self.close)

    async def ready(self) -> None:
        """Return when the channel stands.

        Raises:
            ConnectionProblem: It does not within the time allowed, or never will; the message says what to do.
        """
        if not self.was_ready:
            await self._first_contact()
        self.stub("/treadle.v1.Runs/Start")
        channel = self._channel
        if channel is None:
            raise ConnectionProblem("lost", "the SDK is shutting down")
        if channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY:
            return
        try:
            async with asyncio.timeout(self._reconnect_seconds):
                await channel.channel_ready()
        except TimeoutError:
            await probe(self.connection)  # raises with the reason, if it is one that can be seen from here
            raise ConnectionProblem(
                "not-running", f"no connection to {self.connection.target} after {self._reconnect_seconds:g} s"
            ) from None

    async def _first_contact(self) -> None:
        async with self._probing:
            if self.was_ready:
                return
            deadline = time.monotonic() + self._first_connect_seconds
            pauses = Pauses()
            while True:
                try:
                    await probe(self.connection)
                except ConnectionProblem as problem:
                    wait = pauses.next()
                    if problem.mistake != "not-running" or time.monotonic() + wait > deadline:
                        raise
                    await asyncio.sleep(wait)
                else:
                    self.was_ready = True
                    return

    # -- calls -----------------------------------------------------------------------------------------------------

    async def unary(self, path: str, request: Message, *, repeatable: bool, seconds: float = _CALL_SECONDS) -> Any:
        """Make a call, and again while the engine is away, if that is safe.

        Args:
            path: The method, e.g. `/treadle.v1.Runs/Get`.
            request: Its message.
            repeatable: Whether doing it twice is the same as doing it once. If not, it is only repeated when the
                connection was never established, so that the engine cannot have seen it.
            seconds: Longest time for one try.

        Raises:
            ConnectionProblem: The engine cannot be reached, or the call was lost on the way.
            TreadleError: The engine's answer is no.
        """
        deadline = time.monotonic() + self._reconnect_seconds
        pauses = Pauses()
        while True:
            await self.ready()
            try:
                return await self.stub(path)(request, metadata=self.connection.metadata, timeout=seconds)
            except grpc.aio.AioRpcError as error:
                wait = pauses.next()
                code = error.code()
                again = code is grpc.StatusCode.UNAVAILABLE and (repeatable or never_sent(error))
                if not again or time.monotonic() + wait > deadline:
                    raise self.explain(error, path) from None
                await asyncio.sleep(wait)
            except asyncio.CancelledError:
                if told_to_stop():
                    raise
                raise self._lost(path, "cancelled by the other side") from None

    def explain(self, error: grpc.aio.AioRpcError, path: str) -> TreadleError:
        """The error a user should see for a gRPC status."""
        code, details = error.code(), error.details() or ""
        connection = self.connection
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return ConnectionProblem(
                "token",
                f"the engine at {connection.target} refuses the token from {connection.token_from}: {details}. "
                "`treadle token create` makes a new one",
            )
        if code is grpc.StatusCode.UNAVAILABLE:
            return self._lost(path, details)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return ConnectionProblem(
                "lost", f"{connection.target} did not answer {path} in time; it may have taken effect"
            )
        field, colon, message = details.partition(": ")
        if colon and " " not in field:
            return error_of(int(code.value[0]), field, message)
        return error_of(int(code.value[0]), "", details or f"{path}: {code.name}")

    def _lost(self, path: str, details: str) -> ConnectionProblem:
        return ConnectionProblem(
            "lost",
            f"the connection to {self.connection.target} broke during {path}, which may or may not have taken effect: "
            f"{details}",
        )

    async def get_run(self, run_id: str) -> runs_pb2.RunDetail:
        detail: runs_pb2.RunDetail = await self.unary(
            "/treadle.v1.Runs/Get", runs_pb2.GetRunRequest(id=run_id), repeatable=True
        )
        return detail

    async def cancel_runs(self, ids: list[str], *, children: bool = False) -> list[str]:
        """Cancel runs by id, with all that they have spawned if asked to; returns those that had not ended."""
        changed: runs_pb2.ChangedRuns = await self.unary(
            "/treadle.v1.Runs/Cancel", runs_pb2.SelectRuns(ids=ids, children=children), repeatable=True
        )
        return list(changed.ids)

    async def replay_runs(self, ids: list[str]) -> list[str]:
        """Run again what has ended; returns what had."""
        # Not repeated after a lost answer: what was replayed may have ended again by then.
        changed: runs_pb2.ChangedRuns = await self.unary(
            "/treadle.v1.Runs/Replay", runs_pb2.SelectRuns(ids=ids), repeatable=False
        )
        return list(changed.ids)


def never_sent(error: grpc.aio.AioRpcError) -> bool:
    """Whether a failed call cannot have reached the engine: gRPC found no connection to send it on."""
    details = error.details() or ""
    return details.startswith(("failed to connect to all addresses", "connections to all backends failing"))
