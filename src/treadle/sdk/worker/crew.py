"""A worker's child processes: the parent hands out deliveries, takes in reports, and replaces those that die."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import subprocess
import sys
import time
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from treadle.sdk.pauses import Pauses
from treadle.sdk.worker.frames import Key, delivery_part
from treadle.sdk.worker.pipe import Kind, Pipe, pack, read_news
from treadle.wire.gen.treadle.v1 import worker_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from treadle.sdk.context import CancelReason
    from treadle.sdk.worker.home import Home
    from treadle.sdk.worker.ledger import Ledger

logger: logging.Logger = logging.getLogger("treadle.worker")

_LEAVE_SECONDS = 3.0
_POLL_SECONDS = 0.01
_MOST_SILENT_TICKS = 30
"""How many seconds a child may leave a question unanswered: something holds its interpreter, and it is of no use."""

_REASONS: dict[CancelReason, Any] = {
    "superseded": worker_pb2.CANCEL_REASON_SUPERSEDED,
    "timed out": worker_pb2.CANCEL_REASON_TIMED_OUT,
}


class Entrusted:
    """One attempt that a child runs."""

    __slots__ = ("cancel_reason", "child", "key", "part", "started_us", "told")

    def __init__(self, key: Key, part: bytes) -> None:
        self.key: Key = key
        self.part: bytes = part
        """The delivery, until it is handed out."""
        self.child: Child | None = None
        self.cancel_reason: CancelReason | None = None
        self.started_us: int = 0
        self.told: bool = False

    def cancel(self, reason: CancelReason) -> None:
        self.cancel_reason = reason


class Child:
    """The parent's side of one process."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self.load: int = 0
        """How many attempts it has."""
        self.max_bytes: int = 0
        self.silent_ticks: int = 0
        self.broken: str = ""
        """Why it could not load the app."""
        self.ready: asyncio.Event = asyncio.Event()
        self.gone: asyncio.Event = asyncio.Event()
        self._pipe = Pipe(self._receive, self.gone.set)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def spawn(self, setup: bytes) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own module; it takes a millisecond
                [sys.executable, "-m", "treadle.sdk.worker.child", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        ours.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: self._pipe, sock=ours)
        self._pipe.write(pack(Kind.SETUP, setup))

    def send(self, parts: list[bytes], frame: worker_pb2.EngineFrame | None = None) -> None:
        body = b"".join(parts)
        if self.max_bytes != self._crew.ledger.max_bytes:
            self.max_bytes = self._crew.ledger.max_bytes
            frame = frame or worker_pb2.EngineFrame()
            frame.welcome.max_message_bytes = self.max_bytes
        if frame is not None:
            body += frame.SerializeToString()
        self._pipe.write(pack(Kind.FRAME, body))

    def _receive(self, kind: int, body: bytes) -> None:
        self.silent_ticks = 0
        if kind == Kind.NEWS:
            self.load -= self._crew.ledger.merge(read_news(body))
        elif kind == Kind.READY:
            self.ready.set()
            self._crew.hand_out_waiting()
        elif kind == Kind.BROKEN:
            self.broken = body.decode()

    def tick(self) -> None:
        """See whether it is alive and well."""
        process = self._process
        if process is None:
            return
        if process.poll() is not None:
            # Usually the end of the connection tells; not if a program that a task has started keeps it open.
            self._pipe.abort()
        elif self.ready.is_set():
            self.silent_ticks += 1
            if self.silent_ticks > _MOST_SILENT_TICKS:
                logger.error("process %d has not answered for %d s: killing it", process.pid, self.silent_ticks)
                process.kill()
            elif self.silent_ticks == 1:
                self.send([], worker_pb2.EngineFrame(canary=1))

    def let_go(self) -> None:
        """Have it end by itself, if it can hear."""
        if self.ready.is_set():
            self._pipe.close()
        else:
            self.kill()

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        self._pipe.abort()

    async def exit_code(self, seconds: float) -> int:
        """Wait for the end of the process, and see to it."""
        process = self._process
        if process is None:
            return 0
        deadline = time.monotonic() + seconds
        while (code := process.poll()) is None:
            if time.monotonic() > deadline:
                process.kill()
            await asyncio.sleep(_POLL_SECONDS)
        return code


class Crew:
    """Runs attempts in child processes. Everything here happens on the I/O thread."""

    def __init__(
        self,
        ledger: Ledger[Entrusted],
        home: Home,
        *,
        processes: int,
        actions: Iterable[str],
        labels: Mapping[str, str],
    ) -> None:
        """Make one.

        Args:
            ledger: What is in hand.
            home: Where the app lives.
            processes: How many.
            actions: What the app has to run.
            labels: Of the worker.
        """
        self.ledger = ledger
        self._processes = processes
        self._setup: dict[str, Any] = {"home": home.as_json(), "actions": sorted(actions), "labels": dict(labels)}
        self._children: list[Child] = []
        self._minders: list[asyncio.Task[None]] = []
        self._waiting: list[Entrusted] = []
        self._pausing: set[asyncio.Future[None]] = set()
        self._closing = False

    async def open(self) -> None:
        """Start the processes, and wait until all have loaded the app.

        Raises:
            RuntimeError: One cannot.
        """
        first = [asyncio.get_running_loop().create_future() for _ in range(self._processes)]
        self._minders = [asyncio.ensure_future(self._mind(ready)) for ready in first]
        for outcome in await asyncio.gather(*first, return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def _mind(self, first: asyncio.Future[None]) -> None:
        """Keep one place filled."""
        pauses = Pauses(0.1, 5.0)
        while not self._closing:
            child = Child(self)
            self._children.append(child)
            code = 0
            try:
                await self._live(child, first)
                code = await child.exit_code(_LEAVE_SECONDS)
            except OSError as error:
                # No memory or no descriptors left, perhaps for a moment only.
                logger.error("a process of the worker could not be started: %s", error)  # noqa: TRY400 - one line says all
                if not first.done():
                    first.set_exception(error)
            finally:
                self._children.remove(child)
                child.kill()
            if self._lose(child, code):
                # Its tasks are to blame, and each of them is given up by the engine in the end.
                pauses.reset()
            elif not self._closing:
                self._pausing.add(pause := asyncio.ensure_future(asyncio.sleep(pauses.next())))
                await asyncio.wait({pause})
                self._pausing.discard(pause)

    async def _live(self, child: Child, first: asyncio.Future[None]) -> None:
        setup = json.dumps({**self._setup, "max_bytes": self.ledger.max_bytes}).encode()
        await child.spawn(setup)
        ready = asyncio.ensure_future(child.ready.wait())
        gone = asyncio.ensure_future(child.gone.wait())
        try:
            await asyncio.wait({ready, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                if child.ready.is_set():
                    first.set_result(None)
                else:
                    what = child.broken or f"exit code {await child.exit_code(_LEAVE_SECONDS)}"
                    first.set_exception(RuntimeError(f"a child process of the worker could not load the app: {what}"))
                    self._closing = True
            elif not child.ready.is_set() and not self._closing:
                logger.error("a child process could not load the app; trying again. %s", child.broken)
            await gone
        finally:
            ready.cancel()
            gone.cancel()

    def _lose(self, child: Child, code: int) -> int:
        """Report what a dead child had in hand."""
        if self._closing:
            return 0
        lost = self.ledger.lose([held for held in self.ledger.executions() if held.child is child])
        if child.ready.is_set():
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            logger.error("process %s of the worker died (%s) with %d tasks, which run again", child.pid, how, lost)
        return lost

    # -- as Hands --------------------------------------------------------------------------------------------------

    def start(self, deliveries: Iterable[worker_pb2.Delivery]) -> None:
        """Hand attempts to the processes."""
        self._hand_out(
            self.ledger.take(
                Entrusted((delivery.task_id, delivery.attempt), delivery_part(delivery)) for delivery in deliveries
            )
        )

    def hand_out_waiting(self) -> None:
        """A process is ready for what came while none was."""
        waiting, self._waiting = self._waiting, []
        # What was cancelled or handed back meanwhile has left the ledger.
        alive = set(map(id, self.ledger.executions())) if waiting else set()
        self._hand_out([held for held in waiting if id(held) in alive])

    def _hand_out(self, batch: list[Entrusted]) -> None:
        ready = [child for child in self._children if child.ready.is_set() and not child.gone.is_set()]
        if not ready:
            self._waiting += batch
            return
        least = attrgetter("load")
        parts: dict[Child, list[bytes]] = {}
        for held in batch:
            child = min(ready, key=least)
            child.load += 1
            held.child = child
            parts.setdefault(child, []).append(held.part)
            held.part = b""
        for child, items in parts.items():
            child.send(items)

    def cancel(self, held: Entrusted) -> None:
        """Stop one whose reason is set."""
        if held.child is None:
            self.ledger.stopped(held)
            return
        reason = _REASONS.get(held.cancel_reason or "cancelled", worker_pb2.CANCEL_REASON_CANCELLED)
        cancel = worker_pb2.Cancel(task_id=held.key[0], attempt=held.key[1], reason=reason)
        held.child.send([], worker_pb2.EngineFrame(cancels=[cancel]))

    def abandon_all(self) -> None:
        """Stop all, as the worker is going away."""
        for held in self.ledger.executions():
            if held.cancel_reason is None:
                held.cancel("shutting down")
            if held.child is None:
                self.ledger.hand_back(held)
        for child in self._children:
            if child.ready.is_set():
                child.send([], worker_pb2.EngineFrame(goodbye=True))

    def tick(self) -> None:
        """See after the processes."""
        for child in self._children:
            child.tick()

    async def close(self) -> None:
        """End the processes."""
        self._closing = True
        for pause in self._pausing:
            pause.cancel()
        for child in self._children:
            child.let_go()
        if self._minders:
            _, late = await asyncio.wait(self._minders, timeout=_LEAVE_SECONDS + 1)
            for minder in late:
                minder.cancel()
            await asyncio.gather(*self._minders, return_exceptions=True)
