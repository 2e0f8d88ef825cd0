"""Engine, worker, reload and feed, from the first line to Ctrl-C."""

import asyncio
import contextlib
import re
import signal
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.cli.dev.worker import WorkerChild
from treadle.cli.exits import CommandError, Exit
from treadle.cli.output import note, paint
from treadle.cli.parent import child_environment
from treadle.runtime.connection import CONNECTION_FILE, ConnectionInfo, read_connection
from treadle.server.process import EngineProcess, EngineStartError

if TYPE_CHECKING:
    from treadle.cli.dev.feed import RunFeed
    from treadle.server.settings import Settings

_LOOK_SECONDS = 0.5
_ENGINE_LOOK_SECONDS = 0.5


class DevSession:
    """What `treadle dev` runs. Interrupted once it stops everything in order, twice at once."""

    def __init__(self, settings: "Settings", *, target: str | None, slots: int, watched: list[Path]) -> None:
        self._settings = settings
        self._target = target
        self._slots = slots
        self._watched = watched
        self._engine: EngineProcess | None = None
        self._worker: WorkerChild | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        info = _running_engine(self._settings) or self._start_engine()
        client_env = {
            "TREADLE_TOKEN": info.token,
            "TREADLE_URL": info.grpc_address,
            "TREADLE_DATA_DIR": str(self._settings.data_dir),
        }
        _show_banner(info, self._settings, self._target, reload=bool(self._watched))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupted)
        try:
            if self._target is not None:
                self._worker = WorkerChild(self._target, slots=self._slots, client_env=client_env)
                await self._worker.start()
            await self._until_stopped(self._reload(), self._feed(client_env), self._mind_engine())
        finally:
            await self._stop()

    def _interrupted(self) -> None:
        if not self._stopping.is_set():
            self._stopping.set()
            note("\nstopping: the worker finishes what it has (Ctrl-C again to end at once)")
            return
        if self._worker is not None:
            self._worker.kill()

    async def _until_stopped(self, *parts: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(part) for part in parts]
                await self._stopping.wait()
                for task in tasks:
                    task.cancel()
        except* CommandError as problems:
            raise problems.exceptions[0] from None

    # -- the engine -----------------------------------------------------------------------------------------------------

    def _start_engine(self) -> ConnectionInfo:
        settings = self._settings
        # Everything else that is set in the environment reaches the engine through the environment.
        self._engine = EngineProcess(
            settings.data_dir,
            database_url=settings.database_url,
            grpc_port=settings.grpc_port,
            http_port=settings.http_port,
            env=child_environment(),
            inherit_settings=True,
        )
        try:
            return self._engine.start().info
        except EngineStartError as problem:
            raise CommandError(Exit.UNREACHABLE, str(problem)) from None

    async def _mind_engine(self) -> None:
        while self._engine is not None:
            await asyncio.sleep(_ENGINE_LOOK_SECONDS)
            if not self._engine.is_running():
                note(f"the engine ended:\n{self._engine.log_tail(2000)}\nstarting it again")
                try:
                    await asyncio.to_thread(self._engine.start)
                except EngineStartError as problem:
                    raise CommandError(Exit.UNREACHABLE, str(problem)) from None

    # -- the worker -----------------------------------------------------------------------------------------------------

    async def _reload(self) -> None:
        if self._worker is None or not self._watched:
            return
        from watchfiles import PythonFilter, awatch

        async for changes in awatch(*self._watched, watch_filter=PythonFilter(), raise_interrupt=False):
            changed = sorted(Path(path).name for _, path in changes)
            note(f"{changed[0]}{' and others' if len(changed) > 1 else ''} changed: a new worker takes over")
            await self._worker.replace()

    async def _feed(self, client_env: dict[str, str]) -> None:
        from treadle.cli.dev.feed import RunFeed
        from treadle.cli.engine import Engine
        from treadle.model.errors import TreadleError
        from treadle.sdk.connection import discover
        from treadle.sdk.gateway import Gateway

        feed = RunFeed(Engine(Gateway(discover(environ=client_env))))
        with contextlib.suppress(TreadleError):
            await asyncio.to_thread(feed.skip_past)
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            # An engine that is away for a moment is no reason to stop looking.
            with contextlib.suppress(TreadleError):
                await _print_new(feed)

    async def _stop(self) -> None:
        if self._worker is not None:
            await self._worker.stop()
        if self._engine is not None and self._engine.is_running():
            await asyncio.to_thread(self._engine.terminate)


async def _print_new(feed: "RunFeed") -> None:
    for line in await asyncio.to_thread(feed.poll):
        print(line, flush=True)


def _running_engine(settings: "Settings") -> ConnectionInfo | None:
    """The engine that uses the data folder already, if one does: two would only get in each other's way."""
    info = read_connection(settings.data_dir / CONNECTION_FILE)
    if info is None:
        return None
    host, _, port = info.grpc_address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1):
            note(f"an engine runs on this data folder already (process {info.pid}): using it")
            return info
    except (OSError, ValueError):
        return None


def _show_banner(info: ConnectionInfo, settings: "Settings", target: str | None, *, reload: bool) -> None:
    embedded = f"embedded, in {settings.data_dir}"
    database = embedded if settings.database_url is None else without_password(info.database_url)
    worker = "none: no app was named or found" if target is None else f"{target}{', reload on' if reload else ''}"
    note(paint("Treadle", "bold"))
    for name, value in (
        ("HTTP", info.http_url),
        ("gRPC", info.grpc_address),
        ("Database", database),
        ("Worker", worker),
        ("Try", "treadle trigger TASK -i name=value --wait"),
    ):
        note(f"  {name:<10}{value}")


def without_password(url: str) -> str:
    return re.sub(r"(?<=//)([^:/@]*):[^@/]*@", r"\1:***@", url)
