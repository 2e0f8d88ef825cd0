"""The parts of an engine, made and connected; nothing is started here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import treadle
from treadle.bus.direct import DirectIntake
from treadle.bus.router import Router
from treadle.bus.serve import Links
from treadle.dispatcher.listen import Listeners
from treadle.dispatcher.liveness import Liveness
from treadle.dispatcher.reports import Reports
from treadle.dispatcher.session import PROTOCOL as SESSION_PROTOCOL
from treadle.dispatcher.session import Sessions
from treadle.dispatcher.workers import Workers
from treadle.engine.catalog import Catalog
from treadle.engine.inbox import Inbox
from treadle.engine.running import RunningView
from treadle.intake.events import Events
from treadle.intake.select import Selections
from treadle.intake.trigger import Triggers
from treadle.intake.workflows import Workflows
from treadle.janitor.partitions import Partitions
from treadle.model.errors import TreadleError
from treadle.monitor.audience import RunAudience
from treadle.monitor.follow import RunEvents
from treadle.monitor.results import Results
from treadle.monitor.runs import Runs
from treadle.scheduler.leases import Leases
from treadle.scheduler.loop import Loop
from treadle.scheduler.memory import Memory
from treadle.scheduler.seat import Seat
from treadle.server.backend import EngineBackend
from treadle.server.run_views import RunViews
from treadle.storage.register import find_worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from treadle.bus.hints import Hint
    from treadle.engine.running import Running
    from treadle.runtime.clock import Clock
    from treadle.server.settings import Settings
    from treadle.server.tokens import Gate
    from treadle.storage.database import Database
    from treadle.wire.serving import Handlers, Served

# What a payload may take of a message: the rest is for names, metadata and framing.
_MESSAGE_OVERHEAD = 16 * 1024
_ASK_AGAIN = 0.5


class Parts:
    """Everything that one process is made of, by its roles.

    Args:
        settings: all settings.
        database: the open pool.
        url: the database, for connections of their own.
        gate: checks tokens.
        clock: the time.
        revive: brings a database of our own back up.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        url: str,
        gate: Gate,
        clock: Clock,
        revive: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self.settings = settings
        self._database = database
        self._nothing = Memory()
        self._watching: set[asyncio.Task[None]] = set()
        self.catalog = Catalog(database)
        self.audience = RunAudience(database, self.catalog, self.holds)
        self.direct = DirectIntake(database, clock)
        self.seat: Seat | None = None
        self.loop: Loop | None = None
        inbox: Inbox | None = None
        if "scheduler" in settings.roles:
            self.seat = Seat(url)
            inbox = Inbox()
        self.leases = Leases(database, self.seat)
        self.router = Router(
            inbox=inbox,
            owned=self.owns,
            owner=self._owner,
            lives=self._lives,
            direct=self.direct,
            catalog=self.catalog,
            tell_ended=self.audience.tell_ended,
            token=gate.engine_token(),
        )
        self.liveness = Liveness(self.router, database, clock)
        if self.seat is not None and inbox is not None:
            self.loop = Loop(
                self.seat,
                take_leases=self.leases.take,
                inbox=inbox,
                catalog=self.catalog,
                audience=self.audience,
                clock=clock,
                revive=revive,
                watch=self.watch_absent,
                stray=self.router.stray,
            )
            # Its next commit, an empty one if need be, finds the database gone and brings it back.
            self.leases.on_unreachable = self.loop.look
            self.direct.on_stored = self.loop.arrived
        self.audience.elsewhere = self.router.await_ends
        self.leases.on_change = self._owners_changed
        self.router.on_broken = self._link_broken
        self.router.on_wanted = self.leases.look
        self.partitions = Partitions(
            database, clock, tends="janitor" in settings.roles, retention_days=settings.retention_days
        )
        self._serve(gate, clock)

    def _serve(self, gate: Gate, clock: Clock) -> None:
        settings, database, router = self.settings, self._database, self.router
        view = RunningView(self.running)
        self._listeners = Listeners(
            inbox=router,
            database=database,
            liveness=self.liveness,
            clock=clock,
            lost_after=settings.worker_lost_after,
            max_message_bytes=settings.max_message_bytes,
        )
        self._sessions = Sessions(
            inbox=router,
            database=database,
            running=view,
            liveness=self.liveness,
            clock=clock,
            lost_after=settings.session_lost_after,
            canary_interval=settings.canary_interval,
            max_message_bytes=settings.max_message_bytes,
            version=treadle.__version__,
        )
        self._results = Results(self.audience, clock)
        self._run_events = RunEvents(self.audience, view, clock)
        self._links = Links(
            inbox=router,
            audience=self.audience,
            owned=self.owns,
            connected=self._connected,
            met=self.liveness.forget,
            missed=self._missed,
        )
        self.liveness.elsewhere = self._links.serve_worker
        selections = Selections(inbox=router, database=database)
        triggers = Triggers(
            inbox=router,
            catalog=self.catalog,
            clock=clock,
            max_payload_bytes=settings.max_message_bytes - _MESSAGE_OVERHEAD,
            database=database,
            run_of=self.run_of,
        )
        by_role: dict[str, tuple[Served, ...]] = {
            "intake": (
                Workflows(database=database, catalog=self.catalog, clock=clock),
                triggers,
                selections,
                Events(inbox=router, max_payload_bytes=settings.max_message_bytes - _MESSAGE_OVERHEAD),
            ),
            "dispatcher": (
                Workers(database=database, liveness=self.liveness, listeners=self._listeners, clock=clock),
                self._listeners,
                Reports(router, view, database),
                self._sessions,
            ),
            "monitor": (
                self._results,
                self._run_events,
                Runs(database=database, catalog=self.catalog, clock=clock),
            ),
            "scheduler": (self._links,),
        }
        self.handlers: Handlers = {}
        for role, served in by_role.items():
            if role in settings.roles:
                for part in served:
                    self.handlers |= part.handlers()
        self.backend = EngineBackend(
            version=treadle.__version__,
            database=database,
            gate=gate,
            inbox=router,
            liveness=self.liveness,
            selections=selections,
            triggers=triggers,
            views=RunViews(database=database, catalog=self.catalog, clock=clock),
            running=self.running,
            clock=clock,
            warning=lambda: self.partitions.warning,
        )

    # -- what the parts ask each other ---------------------------------------------------------------------------

    @property
    def memory(self) -> Memory:
        """What the loop holds; nothing when this process does not schedule."""
        return self._nothing if self.loop is None else self.loop.memory

    def running(self) -> Running:
        """The attempts that run, of the tenants owned here."""
        return self.memory.running

    def holds(self, tenant_id: int, task_id: str) -> bool:
        """Whether the loop holds a run in memory."""
        return self.memory.holds(tenant_id, task_id)

    def run_of(self, tenant_id: int, task_id: str) -> str | None:
        """The run that a task which the loop holds is part of."""
        return self.memory.run_of(tenant_id, task_id)

    def owns(self, tenant_id: int) -> bool:
        """Whether this engine schedules a tenant."""
        return tenant_id in self.memory.tenant_ids

    def _owner(self, tenant_id: int) -> str | None:
        owner = self.leases.owner(tenant_id)
        return None if owner is None else owner.address

    def _connected(self, worker_id: str) -> bool:
        return self.memory.connected(worker_id)

    def _lives(self, address: str) -> bool:
        return self.leases.lives(address)

    async def own(self, tenant_ids: set[int]) -> None:
        """Let the loop own exactly these tenants."""
        if self.loop is not None:
            await self.loop.own(tenant_ids)
            if not self.leases.alone:
                # A hint may have been lost.
                self.loop.arrived()
        self.router.release_held()

    def _link_broken(self) -> None:
        """The owner may be another one now; and if not, it knows nothing any more of the ends that we wait for."""
        self.leases.look()
        asyncio.get_running_loop().call_later(_ASK_AGAIN, self.audience.look_again)

    def _owners_changed(self) -> None:
        self.router.owners_changed()
        self.router.release_held()
        self.audience.look_again()

    def heard(self, hint: Hint) -> None:
        """Another engine has something to say."""
        if hint.runs is not None and self.loop is not None:
            self.loop.arrived(hint.runs)
        if hint.workflows is not None:
            self.catalog.forget(hint.workflows)
        if hint.leases:
            self.leases.look()
        if hint.missed:
            self.catalog.forget(None)
            self.leases.look()
            if self.loop is not None:
                self.loop.arrived()

    def _missed(self, workers: dict[str, int]) -> None:
        task = asyncio.create_task(self._watch_missed(workers))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _watch_missed(self, workers: dict[str, int]) -> None:
        try:
            await self.watch_absent(workers)
        except TreadleError:
            # Without the table, the patience that is right for any worker.
            for worker_id, tenant_id in workers.items():
                self.liveness.watch(worker_id, tenant_id, self.settings.worker_lost_after)

    async def watch_absent(self, workers: dict[str, int]) -> None:
        """Workers that run something, but have no stream at the owner, have this long to come back."""
        for worker_id, tenant_id in workers.items():
            if self.liveness.last_seen(worker_id) is not None:
                continue
            async with self._database.connection() as conn:
                row = await find_worker(conn, tenant_id=tenant_id, id=worker_id)
            session = row is not None and row.protocol == SESSION_PROTOCOL
            self.liveness.watch(
                worker_id,
                tenant_id,
                self.settings.session_lost_after if session else self.settings.worker_lost_after,
            )

    def close_streams(self) -> None:
        """The engine is stopping: every stream ends."""
        for part in (self._sessions, self._listeners, self._results, self._run_events, self._links):
            part.close()
