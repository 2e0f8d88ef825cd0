"""A child process of a worker: runs tasks for its parent, which holds the session with the engine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from treadle.sdk.io import io_thread, new_loop
from treadle.sdk.worker.execution import Execution, OwnHands
from treadle.sdk.worker.home import Home, load
from treadle.sdk.worker.ledger import Ledger
from treadle.sdk.worker.loopwatch import LoopWatch
from treadle.sdk.worker.pipe import Kind, Pipe, pack, pack_news, read_setup
from treadle.sdk.worker.runner import failure_text
from treadle.sdk.worker.session import LATER_SECONDS, reason_of
from treadle.sdk.worker.threads import Threads
from treadle.wire.gen.treadle.v1 import worker_pb2

if TYPE_CHECKING:
    from treadle.sdk.app import Treadle

logger: logging.Logger = logging.getLogger("treadle.worker")

_TICK_SECONDS = 1.0
_LEAVE_SECONDS = 2.0
"""How long the tasks of a parent that has gone may take to end."""
_GAP_SECONDS = 0.001
"""Shortest time between two messages: when many tasks end, their reports travel together."""


class Child:
    """Runs what the parent sends, until the parent has no more use for it."""

    def __init__(self, app: Treadle, sock: socket.socket, setup: dict[str, Any]) -> None:
        self._app = app
        self._sock = sock
        self._setup = setup
        self._io = io_thread()
        self._over = asyncio.Event()
        self._sent_at = 0.0
        self._sending = False

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        threads = Threads()
        self._ledger = Ledger[Execution](
            lambda: self._io.post(self._flush_soon),
            lambda: self._io.post(self._flush_later),
            self._setup["max_bytes"],
            keeps=False,
        )
        self._hands = OwnHands(
            self._ledger,
            threads,
            loop,
            actions=self._app.actions(),
            labels=self._setup["labels"],
            connect=lambda: self._app.gateway,
        )
        self._pipe = Pipe(self._receive, lambda: self._end(loop), self._flush)
        watch = LoopWatch(loop)
        connected = asyncio.run_coroutine_threadsafe(self._connect(watch), self._io.loop)
        await asyncio.wrap_future(connected)
        await self._over.wait()
        threads.close()

    # -- on the I/O thread -----------------------------------------------------------------------------------------

    async def _connect(self, watch: LoopWatch) -> None:
        await self._io.loop.create_unix_connection(lambda: self._pipe, sock=self._sock)
        self._pipe.write(pack(Kind.READY))
        self._io.spawn(self._tick(watch))

    async def _tick(self, watch: LoopWatch) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self._hands.tick()
            watch.check()

    def _receive(self, kind: int, body: bytes) -> None:
        if kind != Kind.FRAME:
            return
        frame = worker_pb2.EngineFrame.FromString(body)
        if frame.HasField("welcome"):
            self._ledger.max_bytes = frame.welcome.max_message_bytes
        if frame.deliveries:
            self._hands.start(frame.deliveries)
        for cancel in frame.cancels:
            execution = self._ledger.to_cancel((cancel.task_id, cancel.attempt), reason_of(cancel))
            if execution is not None:
                self._hands.cancel(execution)
        if frame.canary:
            self._ledger.saw_canary(frame.canary)
        if frame.goodbye:
            self._hands.abandon_all()

    def _flush_later(self) -> None:
        self._io.loop.call_later(LATER_SECONDS, self._ledger.is_due)

    def _flush_soon(self) -> None:
        if self._sending:
            return
        wait = self._sent_at + _GAP_SECONDS - time.monotonic()
        if wait <= 0:
            self._flush()
        else:
            self._sending = True
            self._io.loop.call_later(wait, self._flush)

    def _flush(self) -> None:
        self._sending = False
        while not self._pipe.full and (news := self._ledger.news()) is not None:
            self._pipe.write(pack_news(news))
            self._sent_at = time.monotonic()

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        """The parent has closed its end, or has died: nobody waits for anything here."""
        # Whatever a task does, this process must not outlive its parent.
        self._io.loop.call_later(_LEAVE_SECONDS, os._exit, 1)
        self._hands.abandon_all()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._over.set)


def main(descriptor: int) -> None:
    """Run a child on the socket with this number."""
    sock = socket.socket(fileno=descriptor)
    sock.set_inheritable(False)
    # Signals go to the whole group, or to every process of a service; the parent alone decides what comes of them.
    # Not SIG_IGN, which programs that tasks start would inherit.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)
    setup = read_setup(sock)
    try:
        app = load(Home(**setup["home"]), setup["actions"])
    except BaseException as error:  # noqa: BLE001 - also SystemExit: whatever it is, the parent has to say so
        sock.sendall(pack(Kind.BROKEN, failure_text(error).encode()))
        sys.exit(1)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(Child(app, sock, setup).run())


if __name__ == "__main__":
    main(int(sys.argv[1]))
