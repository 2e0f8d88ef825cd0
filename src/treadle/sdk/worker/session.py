"""The worker's one stream to the engine: deliveries in, reports out, and back again after a break.

Everything here runs on the I/O thread, so a task that blocks the worker's event loop does not silence the worker.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import sys
import time
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from treadle import __version__
from treadle.model.errors import TreadleError
from treadle.sdk.context import CancelReason, Context
from treadle.sdk.errors import ConnectionProblem
from treadle.sdk.pauses import Pauses, told_to_stop
from treadle.sdk.results import EOF
from treadle.sdk.worker.ledger import Execution
from treadle.sdk.worker.registration import DEFAULT_SLOT, action_of
from treadle.wire.gen.treadle.v1 import worker_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from treadle.sdk.context import Host
    from treadle.sdk.gateway import Gateway
    from treadle.sdk.task import FunctionTask
    from treadle.sdk.worker.ledger import Ledger
    from treadle.sdk.worker.runner import Runner

logger: logging.Logger = logging.getLogger("treadle.worker")

_PATH = "/treadle.v1.Worker/Session"
_WELCOME_SECONDS = 10.0
_LATER_SECONDS = 0.01
_SHORTEST_SILENCE_SECONDS = 3.0
_OWN_DEADLINE_SECONDS = 10.0
"""How much later than the engine the worker itself gives up on an attempt: for when it is cut off."""

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


class Session:
    """Keeps the stream up until it is told to finish."""

    def __init__(
        self,
        gateway: Gateway,
        ledger: Ledger,
        runner: Runner,
        tasks: Mapping[str, FunctionTask[..., Any, ..., Any]],
        host: Host,
        hello: worker_pb2.Hello,
        *,
        prepare: Callable[[], Awaitable[None]],
        on_ready: Callable[[str], None],
    ) -> None:
        """Make one.

        Args:
            gateway: The connection.
            ledger: What is in hand and what to tell; its wake function must call `wake`.
            runner: Starts and cancels executions.
            tasks: By lower-cased name.
            host: What contexts are made with.
            hello: The worker's facts; its id is filled in here.
            prepare: Registers the tasks; called before the first stream, and again when the engine does not know us.
            on_ready: Called with the worker's id at each welcome.
        """
        self._gateway = gateway
        self._ledger = ledger
        self._runner = runner
        self._by_action = {action_of(name): task for name, task in tasks.items()}
        self._host = host
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
        asyncio.get_running_loop().call_later(_LATER_SECONDS, self._ledger.is_due)

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
        call = self._gateway.stub(_PATH)(metadata=self._gateway.connection.metadata)
        helpers: list[asyncio.Task[None]] = []
        self._leaving = False
        try:
            del self._hello.in_hand[:]
            self._hello.in_hand.extend(self._ledger.resume())
            async with asyncio.timeout(_WELCOME_SECONDS):
                await call.write(worker_pb2.WorkerFrame(hello=self._hello))
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
            frame = self._ledger.next_frame()
            if frame is not None:
                await call.write(frame)
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
            self._start(frame.deliveries)
        for cancel in frame.cancels:
            execution = self._ledger.to_cancel(
                (cancel.task_id, cancel.attempt), _REASONS.get(cancel.reason, "cancelled")
            )
            if execution is not None:
                self._runner.cancel(execution)
        if frame.canary:
            self._ledger.saw_canary(frame.canary)
        if frame.goodbye:
            # Close our side, so that the engine can settle what it has and end; running tasks go on meanwhile.
            self._complain("the engine is stopping")
            self._leaving = True
            self._news.set()

    def _start(self, deliveries: Iterable[worker_pb2.Delivery]) -> None:
        batch: list[Execution] = []
        now = time.monotonic()
        for delivery in deliveries:
            task = self._by_action.get(delivery.action)
            if task is None:
                self._ledger.refuse(
                    worker_pb2.Failure(
                        task_id=delivery.task_id,
                        attempt=delivery.attempt,
                        error=f"LookupError: this worker has no task for {delivery.action}",
                    )
                )
                continue
            ms = delivery.timeout_ms
            execution = Execution(
                (delivery.task_id, delivery.attempt),
                task,
                Context(task.name, delivery, self._host),
                delivery.input,
                now + ms / 1000 + _OWN_DEADLINE_SECONDS if ms else None,
            )
            if self._ledger.take(execution):
                batch.append(execution)
        if batch:
            self._runner.start(batch)

    def stop_overdue(self) -> None:
        """Stop attempts whose time was over long ago: the engine would have said so, were it there."""
        now = time.monotonic()
        for execution in self._ledger.executions():
            if execution.deadline is not None and execution.deadline < now:
                execution.overdue = True
                execution.deadline = None
                self._runner.abandon(execution, "timed out")


def hello_of(name: str, slots: int, labels: Mapping[str, str], tasks: Iterable[str]) -> worker_pb2.Hello:
    """What a worker says about itself."""
    return worker_pb2.Hello(
        name=name,
        actions=sorted(action_of(task) for task in tasks),
        slots={DEFAULT_SLOT: slots},
        labels=dict(labels),
        sdk_version=__version__,
        language_version=platform.python_version(),
        os=sys.platform,
    )
