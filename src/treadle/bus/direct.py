"""Triggers taken in by an engine that does not own the tenant: stored at once, for the owner to pick up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from treadle.engine import emit, trigger
from treadle.engine.batch import Batch, Waiting
from treadle.engine.commands import Command, Trigger
from treadle.engine.fail import write_waiting
from treadle.model.errors import Exhausted, TreadleError, Unavailable
from treadle.storage.leases import hint

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.runtime.clock import Clock
    from treadle.storage.database import Conn, Database

_log = structlog.get_logger()

_ROWS_AT_ONCE = 2000
_BOUND = 20_000


class DirectIntake:
    """Stores runs for owners elsewhere: each waits like a backoff that passes at once, and the owner takes it.

    Args:
        database: where to.
        clock: the time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._waiting: list[Trigger] = []
        self._rows = 0
        self._filled = asyncio.Event()
        # Told of each tenant for which something was stored: this engine may own it by now.
        self.on_stored: Callable[[int], None] = lambda _tenant_id: None

    def put(self, command: Trigger) -> None:
        """Add a trigger to the next commit.

        Raises:
            Exhausted: this engine is behind.
        """
        if self._rows >= _BOUND:
            raise Exhausted("engine", "too many requests wait for a commit; try again in a moment")
        self._waiting.append(command)
        self._rows += command.size
        self._filled.set()

    async def run(self) -> None:
        """Commit what waits, batch after batch, until cancelled."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                taken: list[Trigger] = []
                rows = 0
                while self._waiting and rows < _ROWS_AT_ONCE:
                    taken.append(self._waiting.pop(0))
                    rows += taken[-1].size
                self._rows -= rows
                await self._store(taken)

    async def _store(self, commands: list[Trigger]) -> None:
        try:
            batch = await self._commit(commands)
        except Exception as error:  # noqa: BLE001 - one bad item must fail alone, whatever is wrong with it
            parts: list[Command] = list(commands) if len(commands) > 1 else commands[0].split()
            if parts and not isinstance(error, Unavailable):
                for part in parts:
                    if isinstance(part, Trigger):
                        await self._store([part])
                return
            _log.warning("could not take runs in", problem=repr(error))
            for command in commands:
                command.fail(error if isinstance(error, TreadleError) else Unavailable("engine", str(error)))
            return
        for tenant_id in {task.kind.tenant_id for task in batch.created}:
            self.on_stored(tenant_id)
        for answer in batch.after:
            answer()

    async def _commit(self, commands: list[Trigger]) -> Batch:
        batch = Batch(self._clock.now())
        async with self._database.transaction() as conn:

            async def begun(conn: Conn = conn) -> Conn:
                return conn

            await trigger.settle(commands, batch, begun)
            if batch.created:
                await trigger.write(batch, conn)
                await write_waiting([Waiting(task, batch.now) for task in batch.created], conn)
                await emit.write_events(batch, conn)
                for tenant_id in {task.kind.tenant_id for task in batch.created}:
                    await hint(conn, text=f"runs {tenant_id}")
        return batch
