"""An engine whose commits are watched one by one, and can be made to fail, or to be the last thing that it does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.engine.harness import Engine
from treadle.scheduler.ledger import Ledger, PreparedCommit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from treadle.engine.attempt import Attempt
    from treadle.engine.batch import Batch
    from treadle.engine.catalog import Catalog
    from treadle.engine.commands import Command
    from treadle.engine.ports import Audience
    from treadle.scheduler.loop import Loop
    from treadle.scheduler.memory import Memory
    from treadle.scheduler.transaction import Transaction
    from treadle.storage.database import Conn


class PlannedFailure(Exception):  # noqa: N818 - it is none of ours
    """A commit is refused because the test says so."""


class WatchedLedger(Ledger):
    """Tells of each commit that is written.

    Attributes:
        fail_next: The commit that is prepared next is undone when all of it is written, unless it is a small one.
        silent: The engine dies after each commit, before it has told anyone.
    """

    def __init__(
        self, catalog: Catalog, audience: Audience, before: Callable[[], None], after: Callable[[Batch], None]
    ) -> None:
        super().__init__(catalog, audience)
        self.fail_next = False
        self.silent = False
        self._doomed: Batch | None = None
        self._before = before
        self._after = after

    async def prepare(
        self, commands: list[Command], memory: Memory, transaction: Transaction, now: float
    ) -> PreparedCommit:
        """As always."""
        fails, self.fail_next = self.fail_next, False
        prepared = await super().prepare(commands, memory, transaction, now)
        if fails:
            self._doomed = prepared.batch
        return prepared

    async def _write(self, batch: Batch, chosen: list[Attempt], queued: list[Attempt], conn: Conn) -> None:
        await super()._write(batch, chosen, queued, conn)
        if batch is self._doomed:
            raise PlannedFailure

    def _tell(self, batch: Batch, chosen: list[Attempt], memory: Memory) -> None:
        self._before()
        if not self.silent:
            super()._tell(batch, chosen, memory)
        self._after(batch)


class WatchedEngine(Engine):
    """An engine of the tests that reports to a watcher.

    Attributes:
        problems: What the watcher did not like.
        refused: How many commits have failed as planned.
    """

    def __init__(self, url: str) -> None:
        self.problems: list[BaseException] = []
        self.refused = 0
        self.watcher: Watcher | None = None
        super().__init__(url)

    @property
    def ledger(self) -> WatchedLedger:
        """The ledger of the loop that is there now."""
        assert isinstance(self.loop._ledger, WatchedLedger)
        return self.loop._ledger

    def raise_problems(self) -> None:
        """Raise what the watcher did not like, if anything."""
        if self.problems:
            raise self.problems[0]

    def _new_loop(self) -> Loop:
        loop = super()._new_loop()
        loop._ledger = WatchedLedger(self.catalog, self.audience, self._before, self._after)
        mend = loop._mend

        async def mended(commands: list[Command], error: Exception) -> list[Command]:
            if isinstance(error, PlannedFailure):
                self.refused += 1
                return await mend(commands, error)
            # An engine would go on, and try again for as long as it takes. A test should not.
            raise AssertionError(f"a commit has failed: {error!r}") from error

        loop._mend = mended  # type: ignore[method-assign]  # every failed commit goes through it
        return loop

    def _before(self) -> None:
        self._call(lambda watcher: watcher.before_commit())

    def _after(self, batch: Batch) -> None:
        self._call(lambda watcher: watcher.after_commit(batch))

    def _call(self, tell: Callable[[Watcher], None]) -> None:
        if self.watcher is None:
            return
        try:
            tell(self.watcher)
        except Exception as problem:  # noqa: BLE001 - the engine would take it for a failed commit
            self.problems.append(problem)


class Watcher:
    """Hears of commits."""

    def before_commit(self) -> None:
        """A commit is done, and nobody has been told yet."""

    def after_commit(self, batch: Batch) -> None:
        """All have been told."""


@asynccontextmanager
async def watched_engine(url: str) -> AsyncIterator[WatchedEngine]:
    """A watched engine that has the seat of this database."""
    engine = WatchedEngine(url)
    await engine.database.open()
    try:
        await engine.loop.open()
        yield engine
    finally:
        if engine.loop._flight is not None:
            await asyncio.wait({engine.loop._flight.task})
        await engine.loop.close()
        await engine.database.close()
