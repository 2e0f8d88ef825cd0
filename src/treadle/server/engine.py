"""An engine: its parts by role, put together, started, and taken apart in reverse order."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Self

import structlog

from treadle.api.app import create_app
from treadle.api.serve import HttpServer
from treadle.bus.hints import hear
from treadle.model.errors import Unavailable
from treadle.runtime.clock import SystemClock
from treadle.server.grpc import build_server
from treadle.server.parts import Parts
from treadle.server.tokens import Gate
from treadle.storage.database import Database
from treadle.storage.embedded import EmbeddedPostgres, EmbeddedPostgresError
from treadle.storage.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType
    from typing import Any

    import grpc

    from treadle.runtime.clock import Clock
    from treadle.scheduler.loop import Loop
    from treadle.server.settings import Settings

_log = structlog.get_logger()

_TOKEN_LIFE = timedelta(days=90)
_STOP_GRACE = 5.0
_LOOK_AGAIN = 0.05


class RunningEngine:
    """An engine in this process; an async context manager.

    Args:
        settings: all of its settings.
        clock: the time; the system's by default.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self._clock = clock or SystemClock()
        self._stack = AsyncExitStack()
        # Set once a part has failed, which ends the engine as a whole.
        self.broken = asyncio.Event()
        self.error: BaseException | None = None
        self.parts: Parts | None = None
        self.database_url = ""
        self.grpc_address = ""
        self.http_url = ""
        self.token = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start every part; returns when the engine takes work."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def stop(self) -> None:
        """Finish what is in hand and take everything apart, in reverse order."""
        await self._stack.aclose()

    async def _start(self) -> None:
        settings = self.settings
        postgres = await self._open_postgres()
        await migrate(self.database_url)
        database = Database(self.database_url)
        await database.open()
        self._stack.push_async_callback(database.close)
        gate = Gate(database, self._clock)
        await gate.open()
        parts = self.parts = Parts(
            settings,
            database=database,
            url=self.database_url,
            gate=gate,
            clock=self._clock,
            revive=None if postgres is None else lambda: _revive(postgres),
        )
        server = self._bind(parts, gate)
        await self._take_part(parts)
        for name, coroutine in (
            ("liveness", parts.liveness.run()),
            ("audience", parts.audience.run()),
            ("direct intake", parts.direct.run()),
            ("leases", parts.leases.run(parts.own)),
            ("hints", hear(self.database_url, heard=parts.heard)),
            ("partitions", parts.partitions.run()),
        ):
            self._stack.push_async_callback(cancel, self._spawn(name, coroutine))
        self._stack.push_async_callback(parts.router.close)
        if "api" in settings.roles:
            http = HttpServer(create_app(parts.backend))
            try:
                http_port = await http.start(settings.host, settings.http_port)
            except OSError as problem:
                raise Unavailable(
                    "http_port", f"cannot listen on {settings.host}:{settings.http_port}: {problem.strerror}"
                ) from problem
            self._stack.push_async_callback(http.stop)
            self.http_url = settings.public_http_url or f"http://{settings.host}:{http_port}"
        await server.start()

        async def close() -> None:
            # Streams end at once, and their clients go to the next engine; unary calls are finished.
            stopping = asyncio.create_task(server.stop(_STOP_GRACE))
            while not stopping.done():
                # Again and again, because some were just being opened.
                parts.close_streams()
                await asyncio.wait({stopping}, timeout=_LOOK_AGAIN)

        self._stack.push_async_callback(close)
        self.token = await gate.issue(
            name="engine start",
            expires_in=_TOKEN_LIFE,
            server_url=self.http_url or f"http://{settings.host}:{settings.http_port}",
            grpc_address=self.grpc_address,
        )
        parts.backend.ready = True

    async def _open_postgres(self) -> EmbeddedPostgres | None:
        if self.settings.database_url is not None:
            self.database_url = self.settings.database_url
            return None
        postgres = EmbeddedPostgres(self.settings.data_dir)
        self.database_url = await asyncio.to_thread(postgres.start)
        self._stack.push_async_callback(asyncio.to_thread, postgres.stop)
        return postgres

    def _bind(self, parts: Parts, gate: Gate) -> grpc.aio.Server:
        """Take the port before the seat: other engines are told the address with it."""
        settings = self.settings
        server = build_server(parts.handlers, gate, max_message_bytes=settings.max_message_bytes)
        address = f"{settings.host}:{settings.grpc_port}"
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as problem:
            raise Unavailable("grpc_port", f"cannot listen on {address}: is another engine running?") from problem
        self.grpc_address = settings.public_grpc_address or f"{settings.host}:{port}"
        if parts.seat is not None:
            parts.seat.address = self.grpc_address
        return server

    async def _take_part(self, parts: Parts) -> None:
        """Take a seat among the engines, or look who sits there."""
        loop = parts.loop
        if loop is None:
            await parts.leases.take()
            return
        await loop.open()
        self._stack.push_async_callback(loop.close)
        running = self._spawn("scheduler loop", loop.run())
        self._stack.push_async_callback(_finish, loop, running)

    def _spawn(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a part; should it fail, the engine as a whole does."""
        task = asyncio.create_task(coroutine, name=name)

        def done(task: asyncio.Task[None]) -> None:
            if task.cancelled() or (error := task.exception()) is None:
                return
            _log.critical("a part of the engine failed", part=name, error=repr(error), exc_info=error)
            self.error = self.error or error
            self.broken.set()

        task.add_done_callback(done)
        return task


async def _finish(loop: Loop, running: asyncio.Task[None]) -> None:
    """Let the loop commit what it was asked for, then end it."""
    loop.stop()
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(running), _STOP_GRACE)
    await cancel(running)


async def cancel(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end."""
    while not task.done():
        # Again, should the task have taken it for something else.
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)


async def _revive(postgres: EmbeddedPostgres) -> None:
    """Bring the embedded database back up.

    Raises:
        Unavailable: it does not come up this time, e.g. because it died again while it recovered.
    """
    try:
        await asyncio.to_thread(postgres.ensure_running)
    except EmbeddedPostgresError as problem:
        raise Unavailable("database", str(problem)) from problem
