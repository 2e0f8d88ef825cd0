"""The group-commit loop: takes what waits, commits it, and starts over. For each tenant one engine does this."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from treadle.engine import inputs
from treadle.engine.batch import Batch
from treadle.engine.commands import Command, Push, RefreshTimeout, ReleaseSlot, Report, Trigger, resolve, tenant_of
from treadle.model.errors import TreadleError, Unavailable
from treadle.scheduler.ledger import Ledger
from treadle.scheduler.memory import Memory
from treadle.scheduler.transaction import Transaction
from treadle.storage.database import is_connection_problem
from treadle.storage.leases import is_superseded
from treadle.storage.trigger import is_taken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from treadle.engine.catalog import Catalog
    from treadle.engine.inbox import Inbox
    from treadle.engine.ports import Audience
    from treadle.runtime.clock import Clock
    from treadle.scheduler.seat import Seat

_log = structlog.get_logger()

ROWS_AT_ONCE = 4000
"""About how many rows' worth of commands go into one commit."""

WORTH_PREPARING = 256
"""So many rows' worth of commands are prepared while the commit before them is still being written."""

# Commands that can be prepared meanwhile: they speak of nothing that is told only after that commit.
_OVERLAPPING = (Trigger, Report, Push, RefreshTimeout, ReleaseSlot)

_RECONNECT_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
_SEAT_PAUSE = 0.5


class _Flight:
    """A commit that is being written while the next one is prepared."""

    def __init__(self, writing: Coroutine[None, None, None], commands: list[Command], done: Callable[[], None]) -> None:
        self.commands = commands
        self.task = asyncio.ensure_future(writing)
        self.task.add_done_callback(lambda _: done())


class _FlightError(Exception):
    """The commit that was being written has failed."""

    def __init__(self, commands: list[Command], error: Exception) -> None:
        super().__init__(repr(error))
        self.commands = commands
        self.error = error


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
        self._flight: _Flight | None = None
        self._to_look = False

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

    def look(self) -> None:
        """Touch the database, though nobody has asked for anything: it may be gone, and is brought back then."""
        self._to_look = True
        self._inbox.wake()

    async def run(self) -> None:
        """Commit until `stop` is called and the inbox is empty."""
        again: list[list[Command]] = []
        while True:
            if self._flight is not None and self._flight.task.done():
                again = await self._settle() + again
            if again:
                commands = again.pop(0)
            else:
                if self._inbox.empty and self._stopping and self._flight is None:
                    return
                await self._wait()
                commands = self._inbox.take(ROWS_AT_ONCE)
                if not commands and not self._needed():
                    continue
            if self._to_own is not None:
                again = await self._settle() + again
                to_own, self._to_own = self._to_own, None
                await self._change_hands(*to_own)
            again = await self._carry_out(self._ours(commands)) + again

    def stop(self) -> None:
        """Refuse new commands and let `run` return once those inside are done."""
        self._stopping = True
        self._inbox.close()

    async def close(self) -> None:
        """Leave the seat."""
        await self._seat.leave()

    async def _wait(self) -> None:
        """Sleep until a command comes or something falls due; while a commit is being written, until it is worth while."""
        memory, inbox, flight = self._memory, self._inbox, self._flight
        if flight is not None:
            while not flight.task.done() and inbox.rows < WORTH_PREPARING and self._to_own is None:
                if self._stopping:
                    await asyncio.wait({flight.task})
                    return
                inbox.rest()
                await inbox.wait()
            return
        if not inbox.empty or self._needed():
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

    def _needed(self) -> bool:
        """Whether there is something to do although no command waits."""
        memory = self._memory
        if self._to_look or self._to_own is not None or memory.core.starving() or memory.core.unfinished:
            return True
        due = memory.timers.next(memory.running.next_deadline())
        return due is not None and due <= self._clock.now()

    async def _carry_out(self, commands: list[Command]) -> list[list[Command]]:
        """Prepare a commit while the one before it is being written, and write it once that one is.

        Returns:
            what must be tried again, in order, because its outcome is unknown or what came before it has failed.
        """
        memory = self._memory
        transaction = Transaction(self._seat, self._land)
        self._to_look = False
        try:
            if not all(isinstance(command, _OVERLAPPING) for command in commands):
                await self._land()
            prepared = await self._ledger.prepare(commands, memory, transaction, self._clock.now())
            try:
                await self._land()
            except _FlightError:
                await self._ledger.discard(prepared, memory)
                raise
            transaction.before = None
            prepared.give_inputs(memory.workflows)
            writing = self._ledger.write(prepared, memory, self._seat)
            if prepared.small:
                await writing
            else:
                self._flight = _Flight(writing, commands, self._inbox.wake)
        except _FlightError as lost:
            return [part for part in (await self._mend(lost.commands, lost.error), commands) if part]
        except Exception as error:  # noqa: BLE001 - one bad item must fail alone, whatever is wrong with it
            again = await self._mend(commands, error)
            return [again] if again else []
        return []

    async def _land(self) -> None:
        """Return once nothing is being written.

        Raises:
            _FlightError: it could not be.
        """
        flight, self._flight = self._flight, None
        if flight is not None:
            try:
                await flight.task
            except Exception as error:
                raise _FlightError(flight.commands, error) from error

    async def _settle(self) -> list[list[Command]]:
        """As `_land`; returns what must be tried again."""
        try:
            await self._land()
        except _FlightError as lost:
            again = await self._mend(lost.commands, lost.error)
            return [again] if again else []
        return []

    async def _process(self, commands: list[Command]) -> list[Command]:
        """Commit commands, one step after the other; returns those that must be tried again."""
        again = await self._carry_out(commands) + await self._settle()
        return again[0] if again else []

    async def _mend(self, commands: list[Command], error: Exception) -> list[Command]:
        """A commit has failed, and memory is not to be trusted: load it, and let only the command at fault fail.

        Returns:
            commands that must be tried again because the outcome is unknown.
        """
        if is_superseded(error):
            _log.warning("another engine has taken over; stepping down")
            self._seat.drop()
        elif not is_connection_problem(error) and not isinstance(error, Unavailable):
            return await self._isolate(commands, error)
        _log.warning("lost the database in the middle of a commit", problem=repr(error))
        await self._reconnect()
        return _uncertain(commands)

    async def _isolate(self, commands: list[Command], error: Exception) -> list[Command]:
        """After a failed commit: try the commands one by one, so that only the one at fault fails."""
        try:
            await self._reload()
        except Exception as problem:
            if not is_connection_problem(problem):
                raise
            await self._reconnect()
            return _uncertain(commands)
        if is_taken(error) and any(isinstance(command, Trigger) and not command.uncertain for command in commands):
            # A child that seemed to be new had come through another engine: now the tables are asked about each.
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
        # What was taken in elsewhere meanwhile may be told of by now, but was not there yet when the timers were read.
        memory.timers.arrived(self._clock.now())
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
