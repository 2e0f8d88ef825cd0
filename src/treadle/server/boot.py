"""Boot: puts an engine together, runs it until it is told to stop, and takes it apart again."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Self

import structlog

import treadle
from treadle.api.app import create_app
from treadle.api.serve import HttpServer
from treadle.dispatcher.listen import Listeners
from treadle.dispatcher.liveness import Liveness
from treadle.dispatcher.reports import Reports
from treadle.dispatcher.session import PROTOCOL as SESSION_PROTOCOL
from treadle.dispatcher.session import Sessions
from treadle.dispatcher.workers import Workers
from treadle.engine.catalog import Catalog
from treadle.engine.inbox import Inbox
from treadle.engine.running import RunningView
from treadle.intake.select import Selections
from treadle.intake.trigger import Triggers
from treadle.intake.workflows import Workflows
from treadle.janitor.partitions import keep_partitions
from treadle.model.errors import Unavailable
from treadle.monitor.audience import RunAudience
from treadle.monitor.follow import RunEvents
from treadle.monitor.results import Results
from treadle.monitor.runs import Runs
from treadle.runtime.clock import SystemClock
from treadle.runtime.connection import ConnectionInfo
from treadle.scheduler.loop import Loop
from treadle.server.backend import EngineBackend
from treadle.server.grpc import build_server
from treadle.server.ready import remove_ready, write_ready
from treadle.server.tokens import Gate
from treadle.storage.database import Database
from treadle.storage.embedded import EmbeddedPostgres
from treadle.storage.migrate import migrate
from treadle.storage.register import find_worker

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType
    from typing import Any

    import grpc

    from treadle.runtime.clock import Clock
    from treadle.server.settings import Settings
    from treadle.wire.serving import Handlers

_log = structlog.get_logger()

_TOKEN_LIFE = timedelta(days=90)
# What a payload may take of a message: the rest is for names, metadata and framing.
_MESSAGE_OVERHEAD = 16 * 1024
_STOP_GRACE = 5.0


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
        self.failed: asyncio.Future[None] | None = None
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
        """Start every part; returns when the engine takes work.

        Another engine that schedules on the same database is waited for.
        """
        self.failed = asyncio.get_running_loop().create_future()
        # Nobody may be waiting for it.
        self.failed.add_done_callback(lambda future: future.cancelled() or future.exception())
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

        catalog = Catalog(database)
        audience = RunAudience(database, catalog, lambda tenant_id, task_id: loop.memory.holds(tenant_id, task_id))
        inbox = Inbox()
        loop = Loop(
            self.database_url,
            inbox=inbox,
            catalog=catalog,
            audience=audience,
            clock=self._clock,
            revive=None if postgres is None else lambda: _revive(postgres),
        )
        await loop.take_seat()
        self._stack.push_async_callback(loop.close)

        liveness = Liveness(inbox, database, self._clock)
        listeners = Listeners(
            inbox=inbox,
            database=database,
            liveness=liveness,
            clock=self._clock,
            lost_after=settings.worker_lost_after,
        )
        sessions = Sessions(
            inbox=inbox,
            database=database,
            liveness=liveness,
            clock=self._clock,
            lost_after=settings.session_lost_after,
            canary_interval=settings.canary_interval,
            max_message_bytes=settings.max_message_bytes,
            version=treadle.__version__,
        )
        selections = Selections(inbox=inbox, database=database)
        view = RunningView(lambda: loop.memory.running)
        results = Results(audience, self._clock)
        run_events = RunEvents(audience, view, self._clock)
        handlers: Handlers = {}
        for served in (
            Workflows(database=database, catalog=catalog, clock=self._clock),
            Triggers(
                inbox=inbox,
                catalog=catalog,
                clock=self._clock,
                max_payload_bytes=settings.max_message_bytes - _MESSAGE_OVERHEAD,
                database=database,
                alive=lambda tenant_id, task_id: loop.memory.holds(tenant_id, task_id),
            ),
            selections,
            Workers(database=database, liveness=liveness, listeners=listeners, clock=self._clock),
            listeners,
            Reports(inbox, view, database),
            sessions,
            results,
            run_events,
            Runs(database=database, catalog=catalog, clock=self._clock),
        ):
            handlers |= served.handlers()

        # Workers that ran something when the last engine ended have this long to come back.
        for worker_id, tenant_id in loop.memory.running.workers().items():
            async with database.connection() as conn:
                row = await find_worker(conn, tenant_id=tenant_id, id=worker_id)
            session = row is not None and row.protocol == SESSION_PROTOCOL
            liveness.watch(worker_id, tenant_id, settings.session_lost_after if session else settings.worker_lost_after)

        backend = EngineBackend(
            version=treadle.__version__,
            database=database,
            gate=gate,
            inbox=inbox,
            liveness=liveness,
            selections=selections,
            running=lambda: loop.memory.running,
            clock=self._clock,
        )
        running = self._spawn("scheduler loop", loop.run())
        self._stack.push_async_callback(_finish, loop, running)
        for name, coroutine in (
            ("liveness", liveness.run()),
            ("audience", audience.run()),
            ("partitions", keep_partitions(database, self._clock)),
        ):
            self._stack.push_async_callback(_cancel, self._spawn(name, coroutine))
        server = await self._open_ports(handlers, gate, backend)

        async def close() -> None:
            # Streams end at once, and their clients go to the next engine; unary calls are finished.
            for part in (sessions, listeners, results, run_events):
                part.close()
            await server.stop(_STOP_GRACE)

        self._stack.push_async_callback(close)
        self.token = await gate.issue(
            name="engine start", expires_in=_TOKEN_LIFE, server_url=self.http_url, grpc_address=self.grpc_address
        )
        backend.ready = True

    async def _open_postgres(self) -> EmbeddedPostgres | None:
        if self.settings.database_url is not None:
            self.database_url = self.settings.database_url
            return None
        postgres = EmbeddedPostgres(self.settings.data_dir)
        self.database_url = await asyncio.to_thread(postgres.start)
        self._stack.push_async_callback(asyncio.to_thread, postgres.stop)
        return postgres

    async def _open_ports(self, handlers: Handlers, gate: Gate, backend: EngineBackend) -> grpc.aio.Server:
        settings = self.settings
        http = HttpServer(create_app(backend))
        http_port = await http.start(settings.host, settings.http_port)
        self._stack.push_async_callback(http.stop)
        self.http_url = settings.public_http_url or f"http://{settings.host}:{http_port}"

        server = build_server(handlers, gate, max_message_bytes=settings.max_message_bytes)
        address = f"{settings.host}:{settings.grpc_port}"
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as problem:
            raise Unavailable("grpc_port", f"cannot listen on {address}: is another engine running?") from problem
        await server.start()
        self.grpc_address = settings.public_grpc_address or f"{settings.host}:{port}"
        return server

    def _spawn(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a part; should it fail, the engine as a whole does."""
        task = asyncio.create_task(coroutine, name=name)

        def done(task: asyncio.Task[None]) -> None:
            if task.cancelled() or (error := task.exception()) is None:
                return
            _log.critical("a part of the engine failed", part=name, error=repr(error), exc_info=error)
            if self.failed is not None and not self.failed.done():
                self.failed.set_exception(error)

        task.add_done_callback(done)
        return task


async def run_engine(settings: Settings) -> None:
    """Run an engine until SIGTERM or SIGINT.

    Raises:
        Unavailable: a port or the database cannot be had.
    """
    # Tens of thousands of short-lived objects a second, none of them in cycles: look for cycles rarely.
    gc.set_threshold(200_000, 20, 50)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    engine = RunningEngine(settings)
    starting = asyncio.create_task(engine.start())
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        await _cancel(starting)
        return
    starting.result()
    info = ConnectionInfo(
        http_url=engine.http_url,
        grpc_address=engine.grpc_address,
        database_url=engine.database_url,
        token=engine.token,
        pid=os.getpid(),
    )
    try:
        write_ready(settings, info)
        _log.info("ready", grpc=engine.grpc_address, http=engine.http_url)
        assert engine.failed is not None
        failed = engine.failed
        failed.add_done_callback(lambda _: stopping.set())
        await stop
        if failed.done():
            failed.result()
    finally:
        stop.cancel()
        remove_ready(settings, info)
        await engine.stop()
        _log.info("stopped")


async def _finish(loop: Loop, running: asyncio.Task[None]) -> None:
    """Let the loop commit what it was asked for, then end it."""
    loop.stop()
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(running), _STOP_GRACE)
    await _cancel(running)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def _revive(postgres: EmbeddedPostgres) -> None:
    await asyncio.to_thread(postgres.ensure_running)
