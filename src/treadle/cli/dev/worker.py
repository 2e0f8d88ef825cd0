"""The worker of `treadle dev`: a child process that is replaced when the code changes."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping

from treadle.cli.output import note
from treadle.cli.parent import child_environment


class WorkerChild:
    """One current worker, and those before it that still finish what they were doing.

    The new worker starts at once and takes all new runs; the old one is told to stop, which lets it finish or hand
    back what it has. So no run waits for the reload, and none is lost.
    """

    def __init__(self, target: str, *, slots: int, client_env: Mapping[str, str]) -> None:
        self._command = [sys.executable, "-m", "treadle.cli", "worker", target, "--slots", str(slots)]
        self._env = {**os.environ, **client_env, **child_environment()}
        self._current: asyncio.subprocess.Process | None = None
        self._leaving: set[asyncio.subprocess.Process] = set()
        self._minders: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._env,
            stdin=asyncio.subprocess.DEVNULL,
            # Ctrl-C is for the parent, which stops its children in the right order.
            start_new_session=True,
        )
        self._current = process
        minder = asyncio.create_task(self._mind(process))
        self._minders.add(minder)
        minder.add_done_callback(self._minders.discard)

    async def replace(self) -> None:
        self._dismiss()
        await self.start()

    async def stop(self) -> None:
        """Let all of them finish or hand back their work."""
        self._dismiss()
        await asyncio.gather(*self._minders)

    def kill(self) -> None:
        for process in (*self._leaving, self._current):
            _signal(process, signal.SIGKILL)

    def _dismiss(self) -> None:
        process, self._current = self._current, None
        if process is not None and process.returncode is None:
            self._leaving.add(process)
            _signal(process, signal.SIGTERM)

    async def _mind(self, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        if process in self._leaving:
            self._leaving.discard(process)
        elif code != 0:
            note(f"the worker ended with code {code}; it starts again when a file changes")


def _signal(process: asyncio.subprocess.Process | None, number: signal.Signals) -> None:
    if process is not None and process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
