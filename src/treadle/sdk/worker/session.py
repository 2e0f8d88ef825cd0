"""The worker's one stream to the engine: deliveries in, reports out, and back again after a break.

Everything here runs on the I/O thread, so a task that blocks the worker's event loop does not silence the worker.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import sys
import time
from typing import TYPE_CHECKING, Any, Generic

import grpc
import grpc.aio

from treadle import __version__
from treadle.model.errors import TreadleError
from treadle.sdk.errors import ConnectionProblem
from treadle.sdk.pauses import Pauses, told_to_stop
from treadle.sdk.results import EOF
from treadle.sdk.worker.frames import frame_of
from treadle.sdk.worker.ledger import HeldT
from treadle.sdk.worker.registration import DEFAULT_SLOT
from treadle.wire.gen.treadle.v1 import worker_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from treadle.sdk.context import CancelReason
    from treadle.sdk.gateway import Gateway
    from treadle.sdk.worker.execution import Hands
    from treadle.sdk.worker.ledger import Ledger

logger: logging.Logger = logging.getLogger("treadle.worker")

_PATH = "/treadle.v1.Worker/Session"
_WELCOME_SECONDS = 10.0
LATER_SECONDS = 0.01
_GAP_SECONDS = 0.001
"""Pause after a frame: a frame costs both sides as much as ten tasks, so what comes up together should travel together."""
_SHORTEST_SILENCE_SECONDS = 3.0

_REASONS: dict[int, CancelReason] = {
    worker_pb2.CANCEL_REASON_SUPERSEDED: "superseded",
    worker_pb2.CANCEL_REASON_TIMED_OUT: "timed out",
}
_FATAL = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
)
_NEVER_HEALS = ("token", "http-port", "tls", "bad-address", "not-configured")


class Session(Generic[HeldT]):
    """Keeps the stream up until it is told to finish."""

    def __init__(
        self,
        gateway: Gateway,
        ledger: Ledger[HeldT],
        hands: Hands[HeldT],
        hello: worker_pb2.Hello,
        *,
        prepare: Callable[[], Awaitable[None]],
        on_ready: Callable[[str], None],
    ) -> None:
        """Make one.

        Args:
            gateway: The connection.
            ledger: What is in hand and what to tell; its wake function must call `wake`.
            hands: Run what is delivered.
            hello: The worker's facts; its id is filled in here.
            prepare: Registers the tasks; called before the first stream, and again when the engine does not know us.
            on_ready: Called with the worker's id at each welcome.
        """
        self._gateway = gateway
        self._ledger = ledger
        self._hands = hands
        self._hello = hello
        self._prepare = prepare
        self._on_ready = on_ready
        self._prepared = False
        self._news = asyncio.Event()
        self._finishing = False
        self._leaving = False
        self._heard = 0.0
        self._silence = 30.0
        self._last_complaint = ""
        self.connected: bool = False

    def wake(self) -> None:
        """There is something to send; on the I/O thread."""
        self._news.set()

    def wake_later(self) -> None:
        """There is something to send that can wait a little; on the I/O thread."""
        asyncio.get_running_loop().call_later(LATER_SECONDS, self._ledger.is_due)

    def finish(self) -> None:
        """Close the stream once everything is sent; on the I/O thread."""
        self._finishing = True
        self._news.set()

    async def run(self) -> None:
        """Work until finished.

        Raises:
            ConnectionProblem: The address is not an engine's, or the token is refused.
            TreadleError: The engine refuses this worker or one of its tasks.
        """
        pauses = Pauses(0.1, 5.0)
        while not self._finishing:
            await self._one_stream()
            if self.connected:
                self.connected = False
                pauses.reset()
            if not self._finishing:
                await asyncio.sleep(pauses.next())

    async def _one_stream(self) -> None:
        """Work until the stream ends or breaks; raises what does not heal by waiting."""
        try:
            await self._gateway.ready()
            if not self._prepared:
                await self._prepare()
                self._prepared = True
            await self._live()
        except ConnectionProblem as problem:
            if problem.mistake in _NEVER_HEALS:
                raise
            self._complain(str(problem))
        except grpc.aio.AioRpcError as error:
            self._judge(error)
        except TimeoutError:
            self._complain("the engine does not answer")
        except asyncio.CancelledError:
            if told_to_stop():
                raise
            self._complain("the session was cut off")

    def _judge(self, error: grpc.aio.AioRpcError) -> None:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            # The engine has forgotten us, e.g. as its database is new.
            self._hello.worker_id = ""
            self._prepared = False
        elif error.code() in _FATAL:
            raise self._gateway.explain(error, _PATH) from None
        self._complain(f"the session broke: {error.code().name}: {error.details()}")

    def _complain(self, what: str) -> None:
        if what != self._last_complaint and not self._finishing:
            self._last_complaint = what
            logger.warning("%s; trying again", what)

    async def _live(self) -> None:
        """One life of the stream."""
        call = self._gateway.stub(_PATH, encoded=True)(metadata=self._gateway.connection.metadata)
        helpers: list[asyncio.Task[None]] = []
        self._leaving = False
        try:
            del self._hello.in_hand[:]
            self._hello.in_hand.extend(self._ledger.resume())
            async with asyncio.timeout(_WELCOME_SECONDS):
                await call.write(worker_pb2.WorkerFrame(hello=self._hello).SerializeToString())
                first = await call.read()
            if first is EOF:
                raise TimeoutError
            self._welcome(first.welcome)
            if not self._prepared:
                # The engine does not know this worker any more, so perhaps not its tasks either.
                helpers.append(asyncio.ensure_future(self._prepare_again()))
            self._heard = time.monotonic()
            helpers.append(asyncio.ensure_future(self._listen_for_silence(call)))
            helpers.append(asyncio.ensure_future(self._write(call)))
            self._take(first)
            while (frame := await call.read()) is not EOF:
                self._heard = time.monotonic()
                self._take(frame)
        finally:
            for helper in helpers:
                helper.cancel()
            call.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    def _welcome(self, welcome: worker_pb2.Welcome) -> None:
        if self._hello.worker_id and self._hello.worker_id != welcome.worker_id:
            self._prepared = False
        if self._last_complaint:
            logger.warning("connected again to %s", self._gateway.connection.target)
            self._last_complaint = ""
        self._hello.worker_id = welcome.worker_id
        if welcome.max_message_bytes:
            self._ledger.max_bytes = min(welcome.max_message_bytes, self._gateway.connection.max_message_bytes)
        # The engine speaks at least once per canary interval: much longer without a word, and the stream is dead.
        self._silence = max(
            _SHORTEST_SILENCE_SECONDS, max(3 * welcome.canary_interval_ms, welcome.lost_after_ms) / 1000
        )
        self.connected = True
        self._on_ready(welcome.worker_id)

    async def _prepare_again(self) -> None:
        try:
            await self._prepare()
            self._prepared = True
        except TreadleError as error:
            # The session goes on with what the engine knows; the next stream tries again.
            self._complain(f"the tasks could not be registered again: {error}")

    async def _listen_for_silence(self, call: Any) -> None:
        while (left := self._heard + self._silence - time.monotonic()) > 0:  # noqa: ASYNC110 - the time moves on its own
            await asyncio.sleep(left)
        self._complain(f"nothing was heard from the engine for {self._silence:g} s")
        call.cancel()

    async def _write(self, call: Any) -> None:
        """Send what there is; what comes up while a frame is on its way goes into the next one."""
        while True:
            self._news.clear()
            news = self._ledger.news()
            if news is not None:
                await call.write(frame_of(news))
                await asyncio.sleep(_GAP_SECONDS)
            elif self._finishing or self._leaving:
                await call.done_writing()
                return
            else:
                await self._news.wait()

    # -- what the engine says --------------------------------------------------------------------------------------

    def _take(self, frame: worker_pb2.EngineFrame) -> None:
        if frame.settled:
            self._ledger.settle(frame.settled)
        if frame.deliveries:
            self._hands.start(frame.deliveries)
        for cancel in frame.cancels:
            held = self._ledger.to_cancel((cancel.task_id, cancel.attempt), reason_of(cancel))
            if held is not None:
                self._hands.cancel(held)
        if frame.canary:
            self._ledger.saw_canary(frame.canary)
        if frame.goodbye:
            # Close our side, so that the engine can settle what it has and end; running tasks go on meanwhile.
            self._complain("the engine is stopping")
            self._leaving = True
            self._news.set()


def reason_of(cancel: worker_pb2.Cancel) -> CancelReason:
    """The engine's reason as tasks see it."""
    return _REASONS.get(cancel.reason, "cancelled")


def hello_of(name: str, slots: int, labels: Mapping[str, str], actions: Iterable[str]) -> worker_pb2.Hello:
    """What a worker says about itself."""
    return worker_pb2.Hello(
        name=name,
        actions=sorted(actions),
        slots={DEFAULT_SLOT: slots},
        labels=dict(labels),
        sdk_version=__version__,
        language_version=platform.python_version(),
        os=sys.platform,
    )
