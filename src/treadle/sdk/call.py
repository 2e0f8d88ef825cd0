"""The result of every method that talks to the engine: awaitable, and `.wait()`able from plain code."""

from __future__ import annotations

import asyncio
import concurrent.futures
import warnings
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from treadle.sdk.io import Reply

if TYPE_CHECKING:
    from datetime import timedelta
    from types import TracebackType

T_co = TypeVar("T_co", covariant=True)


class Call(Coroutine[Any, Any, T_co]):
    """Something asked of the engine. `await` it in async code, or `.wait()` for it in plain code.

    Nothing is sent before one of the two happens, and each call can be made once. As a coroutine it can be given to
    `asyncio.create_task`, `gather` and task groups.
    """

    __slots__ = ("__weakref__", "_abandon", "_begin", "_coroutine", "_finish", "_what")

    def __init__(
        self,
        what: str,
        begin: Callable[[Reply[Any]], None],
        finish: Callable[[Any], T_co],
        abandon: Callable[[Reply[Any]], None] | None = None,
    ) -> None:
        """Made by the SDK.

        Args:
            what: The call as the user wrote it, for messages.
            begin: Hands the request to the I/O thread, which settles the reply.
            finish: Makes the result of the settled value, in the caller's thread.
            abandon: Tells the I/O thread that the caller has given up.
        """
        self._what = what
        self._begin: Callable[[Reply[Any]], None] | None = begin
        self._finish = finish
        self._abandon = abandon
        self._coroutine: Coroutine[Any, Any, T_co] | None = None

    def wait(self, timeout: timedelta | float | None = None) -> T_co:
        """Block this thread until the result is there.

        Args:
            timeout: Longest wait, as a timedelta or in seconds. Giving up does not cancel the run.

        Raises:
            TimeoutError: The timeout passed.
            RuntimeError: This thread runs an event loop, which would stand still: use `await`.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            self._begin = None
            raise RuntimeError(f"{self._what}.wait() would block the running event loop: write `await {self._what}`")
        begin = self._take()
        reply = Reply[Any].on_thread()
        future = reply.future
        assert isinstance(future, concurrent.futures.Future)  # noqa: S101 - for the type checker
        begin(reply)
        seconds = timeout if timeout is None or isinstance(timeout, int | float) else timeout.total_seconds()
        try:
            value = future.result(seconds)
        except BaseException as error:
            if not future.done() and self._abandon is not None:
                self._abandon(reply)
            if isinstance(error, concurrent.futures.TimeoutError) and not future.done():
                raise TimeoutError(f"{self._what} has no result after {seconds:g} s") from None
            raise
        return self._finish(value)

    def __await__(self) -> Generator[Any, Any, T_co]:
        return self._drive(self._take()).__await__()

    async def _drive(self, begin: Callable[[Reply[Any]], None]) -> T_co:
        reply = Reply[Any].on_running_loop()
        future = reply.future
        assert isinstance(future, asyncio.Future)  # noqa: S101 - for the type checker
        begin(reply)
        try:
            value = await future
        except asyncio.CancelledError:
            if self._abandon is not None:
                self._abandon(reply)
            raise
        return self._finish(value)

    def _take(self) -> Callable[[Reply[Any]], None]:
        begin, self._begin = self._begin, None
        if begin is None:
            raise RuntimeError(f"{self._what} was awaited already: call it again for another result")
        return begin

    # The coroutine protocol, so that `create_task` and `TaskGroup.create_task` take a call as it is.

    def send(self, value: Any, /) -> Any:
        if self._coroutine is None:
            self._coroutine = self._drive(self._take())
        return self._coroutine.send(value)

    def throw(
        self,
        kind: type[BaseException] | BaseException,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,
        /,
    ) -> Any:
        error = kind if isinstance(kind, BaseException) else value if isinstance(value, BaseException) else kind()
        if traceback is not None:
            error = error.with_traceback(traceback)
        if self._coroutine is None:
            self._begin = None
            raise error
        return self._coroutine.throw(error)

    def close(self) -> None:
        self._begin = None
        if self._coroutine is not None:
            self._coroutine.close()

    def __del__(self) -> None:
        if getattr(self, "_begin", None) is not None:
            warnings.warn(
                f"{self._what} was never awaited: nothing was sent", RuntimeWarning, stacklevel=1, source=self
            )

    def __repr__(self) -> str:
        return f"<Call {self._what}>"
