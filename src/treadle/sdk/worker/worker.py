"""The worker: puts the parts together, starts them, and stops them in the right order."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import re
import signal
import socket
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from treadle.model.names import check_name
from treadle.sdk.io import Reply, new_loop
from treadle.sdk.worker import home
from treadle.sdk.worker.crew import Crew, Entrusted
from treadle.sdk.worker.execution import Execution, OwnHands
from treadle.sdk.worker.ledger import HeldT, Ledger
from treadle.sdk.worker.loopwatch import LoopWatch
from treadle.sdk.worker.registration import register
from treadle.sdk.worker.session import Session, hello_of
from treadle.sdk.worker.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

    from treadle.sdk.app import Treadle
    from treadle.sdk.gateway import Gateway
    from treadle.sdk.worker.execution import Hands

logger: logging.Logger = logging.getLogger("treadle.worker")

DEFAULT_GRACE = timedelta(seconds=30)
_INTERRUPT_SECONDS = 2.0
"""How long interrupted async tasks may take to clean up."""
_SETTLE_SECONDS = 10.0
"""How long to wait for the engine to confirm the last reports."""
_HURRY_SECONDS = 0.5
"""Instead of both, after a second signal."""
_CLOSE_SECONDS = 3.0
"""How long the engine may take to end the stream."""
_STUCK_SECONDS = 2.0
"""How long the event loop may take to notice that all is over, before the process ends without it."""
_TICK_SECONDS = 1.0
_POLL_SECONDS = 0.02


class Worker:
    """Runs an app's tasks, in this process or in children of it.

    Async tasks run on the event loop that `run` is awaited on; plain ones in threads. The talk with the engine happens
    on a thread of its own. With several processes, each child imports the app and has such a loop and such threads,
    while this process only talks with the engine: to the engine they are one worker.

    Args:
        app: The app whose tasks to run.
        slots: How many tasks run at a time; in each process, if there are several.
        processes: How many processes run tasks; 1: this one.
        name: Name of the worker; this machine's name unless given.
        labels: Facts about the worker that tasks can read.
        grace: How long running tasks may take to finish when the worker stops.

    Raises:
        ValueError: There are no tasks, or a workflow has none, or fewer than one slot or process, or the app is none that other processes
            can import.
    """

    def __init__(
        self,
        app: Treadle,
        *,
        slots: int = 100,
        processes: int = 1,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        grace: timedelta = DEFAULT_GRACE,
    ) -> None:
        if home.loading:
            raise RuntimeError(
                "a worker is started while a child process of it imports the app: put the start under "
                '`if __name__ == "__main__":`'
            )
        if slots < 1:
            raise ValueError(f"a worker needs at least one slot, not {slots}")
        if processes < 1:
            raise ValueError(f"a worker needs at least one process, not {processes}")
        for workflow in app.workflows.values():
            workflow.check()
        if not app.actions():
            raise ValueError("the app has no tasks: declare some with @app.task before starting its worker")
        self.name: str = check_name(name or _machine_name(), "worker name")
        self.labels: Mapping[str, str] = dict(labels or {})
        self._app = app
        self._slots = slots
        self._processes = processes
        self._home = home.find_home(app) if processes > 1 else None
        self._grace = grace.total_seconds()
        self._gateway: Gateway | None = None
        self._ready: concurrent.futures.Future[str] = concurrent.futures.Future()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._stop_asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._owns_process = False
        # Of the session, once there is one.
        self._wake: Callable[[], None] = lambda: None
        self._wake_later: Callable[[], None] = lambda: None

    # -- running -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until `stop` is called. A worker runs once.

        When this is cancelled, the worker hands its tasks back at once.

        Raises:
            ConnectionProblem: The address is not an engine's, or the token is refused. An engine that is away is
                waited for.
            TreadleError: The engine refuses a task or the worker.
        """
        if self._gateway is not None:
            raise RuntimeError("this worker has run already: make a new one")
        self._gateway = gateway = self._app.gateway
        loop = asyncio.get_running_loop()
        threads = Threads()
        watch = LoopWatch(loop)
        reply = Reply[Any].on_running_loop()
        gateway.io.submit(lambda: self._work(gateway, loop, threads, watch), reply)
        work = reply.future
        assert isinstance(work, asyncio.Future)  # noqa: S101 - for the type checker
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            self.request_stop(timedelta(0), hurry=True)
            await asyncio.wait({work}, timeout=_INTERRUPT_SECONDS + _CLOSE_SECONDS)
            raise
        finally:
            threads.close()
            if not self._ready.done():
                self._ready.set_exception(RuntimeError("the worker ended before the engine had welcomed it"))
            self._ended.set_result(None)

    async def wait_ready(self) -> str:
        """Return the worker's id once the engine has welcomed it.

        Raises:
            RuntimeError: The worker ended before that.
        """
        return await asyncio.shield(asyncio.wrap_future(self._ready))

    def request_stop(self, grace: timedelta | None = None, *, hurry: bool = False) -> None:
        """Begin to stop, from any thread or signal handler; see `stop`.

        Args:
            grace: How long running tasks may take to finish, instead of the worker's own.
            hurry: Interrupt running tasks now, and hand them back.
        """
        if grace is not None:
            self._grace = grace.total_seconds()
        events = [self._stop_asked, self._hurry] if hurry else [self._stop_asked]
        for event in events:
            if self._gateway is None:
                event.set()  # before the start, e.g. by an early signal: nobody waits for it on another thread yet
            else:
                self._gateway.io.post(event.set)

    async def stop(self, grace: timedelta | None = None) -> None:
        """Stop in good order, and return when that is done.

        Nothing new is taken, running tasks may finish within the grace, then those left are interrupted and handed
        back: another worker runs them, and no attempt is spent.

        Args:
            grace: How long running tasks may take to finish, instead of the worker's own.
        """
        self.request_stop(grace)
        if self._gateway is not None:
            await asyncio.shield(asyncio.wrap_future(self._ended))

    def run_forever(self) -> None:
        """Run on an event loop of this thread until SIGTERM or SIGINT. See `Treadle.run_worker`."""
        self._owns_process = True
        with asyncio.Runner(loop_factory=new_loop) as runner, self._signals():
            runner.run(self.run())

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """First signal: stop in good order. Second: hurry."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python gives signals to the main thread only
            return
        count = 0

        # Not loop.add_signal_handler: that waits for the loop, which a task may be blocking.
        def on_signal(number: int, _frame: FrameType | None) -> None:
            nonlocal count
            count += 1
            self.request_stop(hurry=count > 1)
            if count == 1 and self._gateway is not None:
                self._gateway.io.post(logger.info, "%s: finishing running tasks", signal.Signals(number).name)

        old = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    # -- on the I/O thread ---------------------------------------------------------------------------------------------

    async def _work(
        self, gateway: Gateway, loop: asyncio.AbstractEventLoop, threads: Threads, watch: LoopWatch
    ) -> None:
        actions = self._app.actions()
        if self._home is None:
            own: Ledger[Execution] = self._new_ledger(gateway)
            hands = OwnHands(own, threads, loop, actions=actions, labels=self.labels, connect=lambda: gateway)
            await self._work_with(gateway, own, hands, watch)
        else:
            shared: Ledger[Entrusted] = self._new_ledger(gateway)
            crew = Crew(shared, self._home, processes=self._processes, actions=actions, labels=self.labels)
            await self._work_with(gateway, shared, crew, watch)

    def _new_ledger(self, gateway: Gateway) -> Ledger[Any]:
        return Ledger(
            lambda: gateway.io.post(self._wake),
            lambda: gateway.io.post(self._wake_later),
            gateway.connection.max_message_bytes,
        )

    async def _work_with(self, gateway: Gateway, ledger: Ledger[HeldT], hands: Hands[HeldT], watch: LoopWatch) -> None:
        app = self._app
        session = Session(
            gateway,
            ledger,
            hands,
            hello_of(self.name, self._slots * self._processes, self.labels, app.actions()),
            prepare=lambda: register(gateway, [*app.tasks.values(), *app.workflows.values()]),
            on_ready=self._on_ready,
        )
        self._wake, self._wake_later = session.wake, session.wake_later
        working = asyncio.ensure_future(_open_and_run(hands, session))
        stopping = asyncio.ensure_future(self._stop_when_asked(session, ledger, hands, working))
        ticking = asyncio.ensure_future(_tick(hands, watch))
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            for task in (working, stopping, ticking):
                task.cancel()
            await asyncio.gather(working, stopping, ticking, return_exceptions=True)
            await hands.close()

    def _on_ready(self, worker_id: str) -> None:
        if not self._ready.done():
            logger.info(
                "worker %s (%s) is ready: %d tasks, %d slots in each of %d processes",
                self.name,
                worker_id,
                len(self._app.actions()),
                self._slots,
                self._processes,
            )
            self._ready.set_result(worker_id)

    async def _stop_when_asked(
        self, session: Session[HeldT], ledger: Ledger[HeldT], hands: Hands[HeldT], working: asyncio.Task[None]
    ) -> None:
        await self._stop_asked.wait()
        ledger.drain()
        if not await self._until(lambda: ledger.idle, self._grace):
            hands.abandon_all()
            await self._until(lambda: ledger.idle, _INTERRUPT_SECONDS)
            left = ledger.executions()
            for execution in left:
                ledger.hand_back(execution)
            if left:
                logger.warning("%d tasks did not stop in time; they go to another worker", len(left))
        if not await self._until(lambda: ledger.clean or working.done(), _SETTLE_SECONDS):
            logger.warning("the engine has not confirmed the last reports; it will find out by itself")
        session.finish()
        if self._owns_process:
            asyncio.get_running_loop().call_later(_CLOSE_SECONDS + _STUCK_SECONDS, self._exit_if_stuck)
        await asyncio.wait({working}, timeout=_CLOSE_SECONDS if session.connected else 0)

    def _exit_if_stuck(self) -> None:
        if not self._ended.done():
            logger.error("a task blocks the event loop and cannot be stopped: leaving without it")
            os._exit(1)

    async def _until(self, met: Callable[[], bool], seconds: float) -> bool:
        """Wait for the condition; not longer than that, and hardly at all when in a hurry."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        hurried = False
        while not met():
            if self._hurry.is_set() and not hurried:
                hurried = True
                deadline = min(deadline, loop.time() + _HURRY_SECONDS)
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True


async def _open_and_run(hands: Hands[HeldT], session: Session[HeldT]) -> None:
    await hands.open()
    await session.run()


async def _tick(hands: Hands[HeldT], watch: LoopWatch) -> None:
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        hands.tick()
        watch.check()


def _machine_name() -> str:
    return re.sub(r"[^a-zA-Z0-9._-]", "-", socket.gethostname()) or "worker"
