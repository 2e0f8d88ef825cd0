"""The door behind which every command finds its owner: this engine's loop, another engine, or a table."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from treadle.bus.link import Link
from treadle.engine.commands import Command, Report, Trigger, WorkerJoined, tenant_of
from treadle.model.errors import TreadleError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.bus.direct import DirectIntake
    from treadle.engine.catalog import Catalog
    from treadle.engine.commands import AttemptKey, Stale
    from treadle.engine.inbox import Inbox
    from treadle.engine.ports import Ended

_log = structlog.get_logger()

_OWNER_WITHIN = 10.0
_LOOK_AGAIN = 0.1


class Router:
    """Passes commands on.

    Args:
        inbox: this engine's loop; None for a process that does not schedule.
        owned: whether this engine owns a tenant.
        owner: the address of the other engine that owns a tenant; None when nobody is known to.
        lives: whether the engine at an address is known to live.
        direct: stores triggers for owners elsewhere.
        catalog: registered task kinds.
        tell_ended: told of runs that have ended elsewhere.
        token: what engines show each other.
    """

    def __init__(
        self,
        *,
        inbox: Inbox | None,
        owned: Callable[[int], bool],
        owner: Callable[[int], str | None],
        lives: Callable[[str], bool],
        direct: DirectIntake,
        catalog: Catalog,
        tell_ended: Callable[[list[Ended]], None],
        token: str,
    ) -> None:
        self._inbox = inbox
        self._owned = owned
        self._owner = owner
        self._lives = lives
        self._direct = direct
        self._catalog = catalog
        self._tell_ended = tell_ended
        self._token = token
        self._links: dict[str, Link] = {}
        self._closed = False
        self._insisting: set[asyncio.Task[None]] = set()
        self._held: list[tuple[float, Command]] = []
        self.on_broken: Callable[[], None] = lambda: None
        # Asked to look for owners now.
        self.on_wanted: Callable[[], None] = lambda: None

    # -- the door ------------------------------------------------------------------------------------------------

    def put(self, command: Command) -> None:
        """Hand a command to its owner.

        Raises:
            Exhausted: the owner, or this engine, is behind.
            Unavailable: nobody owns the tenant at the moment, or the owner cannot be reached.
        """
        tenant_id = tenant_of(command)
        if self._owned(tenant_id) and self._inbox is not None:
            self._inbox.put(command)
        elif isinstance(command, Trigger):
            self._direct.put(command)
        else:
            self._link(tenant_id).send(command, tenant_id)

    async def put_when_room(self, command: Command) -> None:
        """As `put`, waiting while the owner is behind, or is being replaced.

        Raises:
            Unavailable: nobody has owned the tenant for ten seconds, or this engine is stopping.
        """
        deadline = asyncio.get_running_loop().time() + _OWNER_WITHIN
        if isinstance(command, Report) and command.keep_starts:
            self._insist(command, deadline)
        await self._put_by(command, deadline, wait_for_room=True)

    async def put_when_owned(self, command: Command) -> None:
        """As `put`, waiting while the tenant is new or its owner is being replaced.

        Raises:
            Exhausted: the owner, or this engine, is behind.
            Unavailable: nobody has owned the tenant for ten seconds, or this engine is stopping.
        """
        deadline = asyncio.get_running_loop().time() + _OWNER_WITHIN
        await self._put_by(command, deadline, wait_for_room=False)

    async def _put_by(self, command: Command, deadline: float, *, wait_for_room: bool) -> None:
        tenant_id = tenant_of(command)
        while True:
            if self._owned(tenant_id) and self._inbox is not None:
                if wait_for_room:
                    await self._inbox.put_when_room(command)
                else:
                    self._inbox.put(command)
                return
            try:
                self._link(tenant_id).send(command, tenant_id)
            except Unavailable:
                if self._closed or asyncio.get_running_loop().time() > deadline:
                    raise
                self.on_wanted()
                # Polled, because it happens only while an owner is being replaced.
                await asyncio.sleep(_LOOK_AGAIN)
            else:
                return

    def _insist(self, report: Report, deadline: float) -> None:
        """A worker that reports with a call of its own may have only one try: ask again when an owner went away.

        Whether the report has taken effect already makes no difference: told twice, it counts once.
        """
        answer = report.answer

        def answered(settled: list[AttemptKey], stale: list[Stale], error: BaseException | None) -> None:
            if isinstance(error, Unavailable) and not self._closed and asyncio.get_running_loop().time() < deadline:
                task = asyncio.create_task(self._put_again(report, deadline))
                self._insisting.add(task)
                task.add_done_callback(self._insisting.discard)
            else:
                answer(settled, stale, error)

        report.answer = answered

    async def _put_again(self, report: Report, deadline: float) -> None:
        await asyncio.sleep(_LOOK_AGAIN)
        try:
            await self._put_by(report, deadline, wait_for_room=True)
        except TreadleError as problem:
            report.fail(problem)

    def put_control(self, command: Command) -> None:
        """Hand on what happened to a worker. A worker that cannot be announced opens its stream again."""
        tenant_id = tenant_of(command)
        if any(tenant_of(held) == tenant_id for _, held in self._held):
            # What happens to a worker is told in the order in which it happens.
            self._hold(command)
            return
        if self._owned(tenant_id) and self._inbox is not None:
            self._inbox.put_control(command)
            return
        try:
            self._link(tenant_id).send(command, tenant_id)
        except Unavailable:
            # A new tenant, or one whose owner is being replaced: in order, once the owner is known.
            self._hold(command)
            self.on_wanted()

    def _hold(self, command: Command) -> None:
        self._held.append((asyncio.get_running_loop().time() + _OWNER_WITHIN, command))

    def release_held(self) -> None:
        """Hand on what waited for an owner. A worker that waited too long opens its stream again."""
        held, self._held = self._held, []
        for deadline, command in held:
            tenant_id = tenant_of(command)
            if not self._owned(tenant_id) and not self._owner(tenant_id):
                if asyncio.get_running_loop().time() < deadline:
                    self._held.append((deadline, command))
                elif isinstance(command, WorkerJoined):
                    command.port.close()
                continue
            self.put_control(command)

    def stray(self, command: Command) -> None:
        """A command that came to the loop of an engine that does not own its tenant any more."""
        try:
            if isinstance(command, WorkerJoined):
                command.port.close()
            else:
                self.put(command)
        except TreadleError as problem:
            command.fail(problem)

    def await_ends(self, tenant_id: int, task_ids: list[str]) -> None:
        """Ask the owner of a tenant, when it is another engine, to tell of these ends."""
        if not self._owned(tenant_id):
            try:
                self._link(tenant_id).await_ends(tenant_id, task_ids)
            except Unavailable:
                # Asked again when the owner is known.
                return

    # -- links ---------------------------------------------------------------------------------------------------

    def owners_changed(self) -> None:
        """Leave the links on which nothing is to be had any more."""
        for link in list(self._links.values()):
            if not self._lives(link.address):
                del self._links[link.address]
                link.cancel()
                continue
            for tenant_id in list(link.tenant_ids):
                if self._owner(tenant_id) != link.address:
                    link.leave(tenant_id)

    async def close(self) -> None:
        """End every link."""
        self._closed = True
        for task in self._insisting:
            task.cancel()
        links, self._links = list(self._links.values()), {}
        for link in links:
            await link.close()

    def _link(self, tenant_id: int) -> Link:
        address = self._owner(tenant_id)
        if not address or self._closed:
            raise Unavailable("engine", "no engine owns this tenant at the moment; try again")
        link = self._links.get(address)
        if link is None:
            link = self._links[address] = Link(
                address,
                token=self._token,
                catalog=self._catalog,
                tell_ended=self._tell_ended,
                broken=self._broken,
            )
        return link

    def _broken(self, link: Link) -> None:
        if self._links.get(link.address) is link:
            del self._links[link.address]
        if not self._closed:
            self.on_broken()
