"""Notices when a task blocks the worker's event loop, and says which."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

logger: logging.Logger = logging.getLogger("treadle.worker")

_BLOCKED_SECONDS = 5.0


class LoopWatch:
    """Asks the loop for a sign of life; made on the loop's own thread, `check`ed from another."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread_id = threading.get_ident()
        self._asked_at: float | None = None
        self._told = False

    def check(self) -> None:
        """Ask, or complain when the last question has no answer yet; call it about once a second."""
        asked_at = self._asked_at
        if asked_at is None:
            self._told = False
            self._asked_at = time.monotonic()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._answer)
            return
        blocked = time.monotonic() - asked_at
        if blocked > _BLOCKED_SECONDS and not self._told:
            self._told = True
            logger.warning(
                "the event loop has been blocked for %.0f s, so async tasks stand still. Make the guilty task a plain "
                "`def`, which runs in a thread of its own. The loop is here:\n%s",
                blocked,
                self._stack(),
            )

    def _answer(self) -> None:
        self._asked_at = None

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - the one way to look at another thread
        return "".join(traceback.format_stack(frame)[-8:]) if frame is not None else "(unknown)"
