"""The group-commit loop: takes what waits, commits it, and starts over. For each tenant one engine does this."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from treadle.engine import inputs
from treadle.engine.batch import Batch
from treadle.engine.commands import Command, Push, Trigger, resolve, tenant_of
from treadle.model.errors import TreadleError, Unavailable
from treadle.scheduler.ledger import Ledger
from treadle.scheduler.memory import Memory
from treadle.storage.database import is_connection_problem
from treadle.storage.leases import is_superseded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from treadle.engine.catalog import Catalog
    from treadle.engine.inbox import Inbox
    from treadle.engine.ports import Audience
    from treadle.runtime.clock import Clock
    from treadle.scheduler.seat import Seat

_log = structlog.get_logger()

ROWS_AT_ONCE = 4000
"""About how many rows' worth of commands go into one commit."""

_RECONNECT_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
_SEAT_PAUSE = 0.5


class Loop:
    """Commits commands, one batch after the other, for the tenants that this engine owns.

    Args:
        seat: the right to write, and the connection to write with.
        take_leases: looks which tenants to own; asked again whenever the seat is taken anew.
        inbox: where commands come from.
        catalog: registered task kinds.
        audience: those who wait for news of runs.
        clock: the time.
        revive: called before each attempt to reconnect, to bring a database of our own back up.
        watch: told of the workers that run something but have no stream here after a take-over, with their tenants.
        stray: takes a command of a tenant that this engine does not own (any more).
    """

    def __init__(
        self,
        seat: Seat,
        *,
        take_leases: Callable[[], Awaitable[set[int]]],
        inbox: Inbox,
        catalog: Catalog,
        audience: Audience,
        clock: Clock,
        revive: Callable[[], Awaitable[None]] | None = None,
        watch: Callable[[dict[str, int]], Awaitable[None]] | None = None,
        stray: Callable[[Command], None] | None = None,
    ) -> None:
        self._stray = stray or (lambda command: command.fail(Unavailable("engine", "another one owns this tenant")))
        self._seat = seat
        self._take_leases = take_leases
        self._inbox = inbox
        self._catalog = catalog
        self._audience = audience
        self._clock = clock
        self._revive = revive
        self._watch = watch
        self._ledger = Ledger(catalog, audience)
        self._memory = Memory()
        self._stopping = False
        self._to_own: tuple[set[int], asyncio.Future[None]] | None = None

    @property
    def memory(self) -> Memory:
        """What is held in memory now."""
        return self._memory

    async def open(self) -> None:
        """Take a seat, and load the queues of the tenants that come with it.

        Raises:
            Unavailable: the database is out of reach.
        """
        await self._seat.open()
        await self._load(await self._take_leases())
        await self._watch_absent()

    async def own(self, tenant_ids: set[int]) -> None:
        """Own exactly these tenants; returns once the others are let go."""
        if tenant_ids == set(self._memory.tenant_ids) or self._stopping:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._to_own = (tenant_ids, done)
        self._inbox.wake()
        await done

    def arrived(self, tenant_id: int | None = None) -> None:
        """Another engine may have taken runs in, for this tenant or any."""
        memory = self._memory
        if tenant_id is None or tenant_id in memory.tenant_ids:
            memory.timers.arrived(self._clock.now())
            self._inbox.wake()

    async def run(self) -> None:
        """Commit until `stop` is called and the inbox is empty."""
        commands: list[Command] = []
        while True:
            if not commands:
                if self._inbox.empty and self._stopping:
                    return
                await self._wait()
                commands = self._inbox.take(ROWS_AT_ONCE)
            if self._to_own is not None:
                to_own, self._to_own = self._to_own, None
                await self._change_hands(*to_own)
            commands = await self._process(self._ours(commands))

    def stop(self) -> None:
        """Refuse new commands and let `run` return once those inside are done."""
        self._stopping = True
        self._inbox.close()

    async def close(self) -> None:
        """Leave the seat."""
        await self._seat.leave()

    async def _wait(self) -> None:
        """Sleep until a command comes or something falls due."""
        memory = self._memory
        if not self._inbox.empty or self._to_own is not None or memory.core.starving() or memory.core.unfinished:
            return
        due = memory.timers.next(memory.running.next_deadline())
        if due is None:
            await self._inbox.wait()
            return
        delay = due - self._clock.now()
        if delay > 0:
            handle = asyncio.get_running_loop().call_later(delay, self._inbox.wake)
            try:
                await self._inbox.wait()
            finally:
                handle.cancel()

    async def _process(self, commands: list[Command]) -> list[Command]:
        """Commit commands; returns those that must be tried again because the outcome is unknown."""
        try:
            await self._ledger.commit(commands, self._memory, self._seat, self._clock.now())
        except Exception as error:  # noqa: BLE001 - one bad item must fail alone, whatever is wrong with it
            if is_superseded(error):
                _log.warning("another engine has taken over; stepping down")
                self._seat.drop()
            elif not is_connection_problem(error) and not isinstance(error, Unavailable):
                return await self._isolate(commands, error)
            _log.warning("lost the database in the middle of a commit", problem=repr(error))
            await self._reconnect()
            return _uncertain(commands)
        return []

    async def _isolate(self, commands: list[Command], error: Exception) -> list[Command]:
        """After a failed commit: try the commands one by one, so that only the one at fault fails."""
        try:
            await self._reload()
        except Exception as problem:
            if not is_connection_problem(problem):
                raise
            await self._reconnect()
            return _uncertain(commands)
        parts: list[Command] = []
        if len(commands) > 1:
            parts = commands
        elif commands:
            parts = commands[0].split()
            if not parts:
                _log.error("a command failed", command=type(commands[0]).__name__, error=repr(error), exc_info=error)
                _fail(commands[0], error)
        else:
            # Nothing was asked for: timers alone failed, and will be tried again.
            _log.error("housekeeping failed", error=repr(error), exc_info=error)
            await asyncio.sleep(_SEAT_PAUSE)
        for part in parts:
            retry = [part]
            while retry:
                retry = await self._process(retry)
        return []

    async def _reconnect(self) -> None:
        """Get a seat, the leases and the state back, however long it takes."""
        tries = 0
        while True:
            pause = _RECONNECT_PAUSES[min(tries, len(_RECONNECT_PAUSES) - 1)]
            tries += 1
            try:
                self._seat.drop()
                if self._revive is not None:
                    await self._revive()
                await self._seat.open()
                await self._reload(await self._take_leases())
                break
            except Exception as problem:
                if not isinstance(problem, Unavailable) and not is_connection_problem(problem):
                    raise
                if tries % 20 == 1:
                    _log.warning("waiting for the database", problem=str(problem))
            await asyncio.sleep(pause)
        _log.info("took a seat again", tries=tries, tenants=len(self._memory.tenant_ids))
        self._audience.look_again()

    async def _change_hands(self, tenant_ids: set[int], done: asyncio.Future[None]) -> None:
        """Own other tenants from now on."""
        _log.info("tenants change hands", before=self._memory.tenant_ids, now=sorted(tenant_ids))
        try:
            await self._reload(tenant_ids)
        except Exception as problem:
            if not isinstance(problem, Unavailable) and not is_connection_problem(problem):
                raise
            await self._reconnect()
        resolve(done, None)
        self._audience.look_again()

    def _ours(self, commands: list[Command]) -> list[Command]:
        """Commands for tenants that this engine owns; the others go back to where owners are known."""
        owned = self._memory.tenant_ids
        ours = []
        for command in commands:
            if tenant_of(command) in owned:
                ours.append(command)
            else:
                self._stray(command)
        return ours

    async def _load(self, tenant_ids: set[int]) -> None:
        memory = Memory(sorted(tenant_ids))
        await memory.load(self._catalog, self._seat.conn, self._clock.now())
        self._memory = memory

    async def _reload(self, tenant_ids: set[int] | None = None) -> None:
        """Throw memory away and read it from the tables; connected workers stay connected.

        Args:
            tenant_ids: whom to own from now on; by default the same as before.
        """
        before = self._memory
        await self._load(set(before.tenant_ids) if tenant_ids is None else tenant_ids)
        batch = Batch(self._clock.now())
        self._memory.follow(before, batch)
        await inputs.load(inputs.give(batch.redelivered, self._memory.workflows), self._seat.conn)
        self._memory.deliver(batch.redelivered)
        await self._watch_absent()

    async def _watch_absent(self) -> None:
        """Workers that run something for us without a stream are given up unless they come back."""
        if self._watch is not None:
            await self._watch(self._memory.absent_workers())


def _fail(command: Command, error: Exception) -> None:
    try:
        command.fail(error if isinstance(error, TreadleError) else Unavailable("engine", str(error)))
    except Exception as problem:  # noqa: BLE001 - a caller that cannot take its answer must not stop the engine
        _log.error("an answer could not be given", error=repr(problem), exc_info=problem)


def _uncertain(commands: list[Command]) -> list[Command]:
    """Mark commands whose commit may or may not have taken effect."""
    for command in commands:
        if isinstance(command, (Trigger, Push)):
            command.uncertain = True
    return commands
