"""The group-commit loop: takes what waits, commits it, and starts over. One per database, by the scheduler's seat."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from treadle.engine.batch import Batch
from treadle.engine.assign import load_missing_inputs
from treadle.engine.commands import Command, Trigger
from treadle.model.errors import TreadleError, Unavailable
from treadle.scheduler.ledger import Ledger
from treadle.scheduler.memory import Memory
from treadle.storage.database import Conn, connect, is_connection_problem
from treadle.storage.seat import try_take_seat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from treadle.engine.catalog import Catalog
    from treadle.engine.inbox import Inbox
    from treadle.engine.ports import Audience
    from treadle.runtime.clock import Clock

_log = structlog.get_logger()

ROWS_AT_ONCE = 4000
"""About how many rows' worth of commands go into one commit."""

_RECONNECT_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
_SEAT_PAUSE = 0.5


class Loop:
    """Commits commands, one batch after the other.

    Args:
        url: the database; the loop has a connection of its own, which holds the scheduler's seat.
        inbox: where commands come from.
        catalog: registered task kinds.
        audience: those who wait for news of runs.
        clock: the time.
        revive: called before each attempt to reconnect, to bring a database of our own back up.
    """

    def __init__(
        self,
        url: str,
        *,
        inbox: Inbox,
        catalog: Catalog,
        audience: Audience,
        clock: Clock,
        revive: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._url = url
        self._inbox = inbox
        self._catalog = catalog
        self._audience = audience
        self._clock = clock
        self._revive = revive
        self._ledger = Ledger(catalog, audience)
        self._memory = Memory()
        self._conn: Conn | None = None
        self._stopping = False

    @property
    def memory(self) -> Memory:
        """What is held in memory now."""
        return self._memory

    async def take_seat(self) -> None:
        """Wait until no other engine schedules on this database, then load the queue's state.

        Raises:
            Unavailable: the database is out of reach.
        """
        waited = False
        while True:
            conn = await connect(self._url, name="treadle scheduler")
            if await try_take_seat(conn):
                break
            await conn.close()
            if not waited:
                waited = True
                _log.info("another engine schedules on this database; standing by")
            await asyncio.sleep(_SEAT_PAUSE)
        self._conn = conn
        await self._load()

    async def run(self) -> None:
        """Commit until `stop` is called and the inbox is empty."""
        commands: list[Command] = []
        while True:
            if not commands:
                if self._inbox.empty and self._stopping:
                    return
                await self._wait()
                commands = self._inbox.take(ROWS_AT_ONCE)
            commands = await self._process(commands)

    def stop(self) -> None:
        """Refuse new commands and let `run` return once those inside are done."""
        self._stopping = True
        self._inbox.close()

    async def close(self) -> None:
        """Leave the seat."""
        if self._conn is not None:
            await self._conn.close()
            self._conn = None

    async def _wait(self) -> None:
        """Sleep until a command comes or something falls due."""
        memory = self._memory
        if not self._inbox.empty or memory.core.starving() or memory.core.unfinished:
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
        assert self._conn is not None
        try:
            await self._ledger.commit(commands, self._memory, self._conn, self._clock.now())
        except Exception as error:  # noqa: BLE001 - one bad item must fail alone, whatever is wrong with it
            if not is_connection_problem(error):
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
        """Get a connection, the seat and the state back, however long it takes."""
        tries = 0
        while True:
            pause = _RECONNECT_PAUSES[min(tries, len(_RECONNECT_PAUSES) - 1)]
            tries += 1
            try:
                if self._conn is not None:
                    self._conn.terminate()
                    self._conn = None
                if self._revive is not None:
                    await self._revive()
                conn = await connect(self._url, name="treadle scheduler")
                if await try_take_seat(conn):
                    self._conn = conn
                    await self._reload()
                    break
                await conn.close()
            except Exception as problem:
                if not isinstance(problem, Unavailable) and not is_connection_problem(problem):
                    raise
                if tries % 20 == 1:
                    _log.warning("waiting for the database", problem=str(problem))
            await asyncio.sleep(pause)
        _log.info("the database is back", tries=tries)
        self._audience.look_again()

    async def _load(self) -> None:
        assert self._conn is not None
        memory = Memory()
        await memory.load(self._catalog, self._conn)
        self._memory = memory

    async def _reload(self) -> None:
        """Throw memory away and read it from the tables; connected workers stay connected."""
        before = self._memory
        await self._load()
        assert self._conn is not None
        batch = Batch(self._clock.now())
        self._memory.follow(before, batch)
        await load_missing_inputs(batch.redelivered, self._conn)
        self._memory.deliver(batch.redelivered)


def _fail(command: Command, error: Exception) -> None:
    try:
        command.fail(error if isinstance(error, TreadleError) else Unavailable("engine", str(error)))
    except Exception as problem:  # noqa: BLE001 - a caller that cannot take its answer must not stop the engine
        _log.error("an answer could not be given", error=repr(problem), exc_info=problem)


def _uncertain(commands: list[Command]) -> list[Command]:
    """Mark commands whose commit may or may not have taken effect."""
    for command in commands:
        if isinstance(command, Trigger):
            command.uncertain = True
    return commands
