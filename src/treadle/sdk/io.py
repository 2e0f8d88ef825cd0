"""The one background thread that does all network input and output of the SDK.

Every channel lives on this thread's event loop. Three things follow from that: callers may use any number of loops, or
none; a task that blocks its loop does not make the worker deaf; and calls made at the same time from anywhere
meet in one place, where they can share a request.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

T = TypeVar("T")

_EXIT_SECONDS = 2.0


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop of the fastest kind installed."""
    try:
        import uvloop  # noqa: PLC0415 - loaded late on purpose
    except ImportError:  # pragma: no cover - uvloop does not exist for Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class Reply(Generic[T]):
    """Where the answer of the I/O thread goes: a future of the caller's loop, or a waiting thread."""

    __slots__ = ("future", "loop")

    def __init__(
        self, loop: asyncio.AbstractEventLoop | None, future: asyncio.Future[T] | concurrent.futures.Future[T]
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = loop
        self.future: asyncio.Future[T] | concurrent.futures.Future[T] = future

    @staticmethod
    def on_running_loop() -> Reply[Any]:
        loop = asyncio.get_running_loop()
        return Reply(loop, loop.create_future())

    @staticmethod
    def on_thread() -> Reply[Any]:
        return Reply(None, concurrent.futures.Future())

    def settle(self, value: T | BaseException) -> None:
        settle_all(((self, value),))


def settle_all(answers: Iterable[tuple[Reply[Any], Any]]) -> None:
    """Hand out answers; an exception is raised at the caller. Wakes each loop once, however many it waits for."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for reply, value in answers:
        future = reply.future
        if isinstance(future, concurrent.futures.Future):
            _resolve(future, value)
        elif reply.loop is not None:
            by_loop.setdefault(reply.loop, []).append((future, value))
    for loop, pairs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve_all, pairs)
        except RuntimeError:
            continue  # the loop is closed: nobody waits any more


def _resolve_all(pairs: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, value in pairs:
        _resolve(future, value)


def _resolve(future: asyncio.Future[Any] | concurrent.futures.Future[Any], value: Any) -> None:
    if future.done():
        return
    try:
        if isinstance(value, BaseException):
            future.set_exception(value)
        else:
            future.set_result(value)
    except (asyncio.InvalidStateError, concurrent.futures.InvalidStateError):
        pass  # given up by the caller in this very moment


class IoThread:
    """An event loop on a daemon thread."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = new_loop()
        self._pid = os.getpid()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._thread = threading.Thread(target=self._main, name="treadle-io", daemon=True)
        self._thread.start()
        atexit.register(self._at_exit)

    @property
    def alive(self) -> bool:
        """False in a forked child, which inherits this object but not its thread."""
        return self._pid == os.getpid() and self._thread.is_alive()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Call this on the I/O thread soon."""
        self.loop.call_soon_threadsafe(callback, *args)

    def submit(self, make: Callable[[], Coroutine[Any, Any, T]], reply: Reply[T]) -> None:
        """Run a coroutine on the I/O thread and settle the reply with what comes of it."""
        self.loop.call_soon_threadsafe(self.spawn, self._answer(make, reply))

    def run(self, make: Callable[[], Coroutine[Any, Any, T]], seconds: float) -> T:
        """Run a coroutine on the I/O thread and block until it is done; from any other thread."""
        return asyncio.run_coroutine_threadsafe(make(), self.loop).result(seconds)

    async def _answer(self, make: Callable[[], Coroutine[Any, Any, T]], reply: Reply[T]) -> None:
        try:
            value = await make()
        except asyncio.CancelledError:
            reply.settle(RuntimeError("the SDK is shutting down"))
            raise
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller
            reply.settle(error)
        else:
            reply.settle(value)

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that is kept alive; only from the I/O thread."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def at_close(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have this awaited before the loop ends."""
        self._closing.append(close)

    def forget_close(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Take back `at_close`."""
        self._closing.remove(close)

    async def _close(self) -> None:
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(close() for close in self._closing), return_exceptions=True)
        self.loop.stop()

    def _at_exit(self) -> None:
        if not self.alive:
            return
        asyncio.run_coroutine_threadsafe(self._close(), self.loop)
        self._thread.join(_EXIT_SECONDS)
        if not self._thread.is_alive():
            self.loop.close()


_lock = threading.Lock()
_current: IoThread | None = None


def io_thread() -> IoThread:
    """The I/O thread of this process; a forked child gets its own."""
    global _current  # noqa: PLW0603 - one per process is the point
    current = _current
    if current is not None and current.alive:
        return current
    with _lock:
        if _current is None or not _current.alive:
            _current = IoThread()
        return _current
