"""One commit: apply commands to memory, choose who runs what, write it all, then tell whom it concerns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from treadle.engine import (
    assign,
    at_once,
    cancel,
    conditions,
    emit,
    enqueue,
    expire,
    fail,
    finish,
    inputs,
    push,
    refresh,
    replay,
    report,
    start,
    trigger,
)
from treadle.engine.advance import advance
from treadle.engine.batch import Batch
from treadle.engine.commands import (
    Cancel,
    Command,
    Push,
    Redeliver,
    RefreshTimeout,
    ReleaseSlot,
    Replay,
    Report,
    Trigger,
    WorkerChanged,
    WorkerJoined,
    WorkerLost,
    resolve,
)
from treadle.model.errors import NotFound
from treadle.scheduler.events import Discarded, Queued, Refilled, Released, Tick

if TYPE_CHECKING:
    from treadle.engine.attempt import Attempt
    from treadle.engine.catalog import Catalog
    from treadle.engine.moves import Fact
    from treadle.engine.ports import Audience
    from treadle.engine.workflow import Workflows
    from treadle.scheduler.memory import Memory
    from treadle.scheduler.seat import Seat
    from treadle.scheduler.transaction import Transaction
    from treadle.storage.database import Conn

_log = structlog.get_logger()

ASSIGN_AT_ONCE = 2000
"""Most attempts given out in one commit."""


@dataclass(slots=True)
class PreparedCommit:
    """A commit that memory knows of and the tables do not."""

    batch: Batch
    chosen: list[Attempt]
    queued: list[Attempt]
    transaction: Transaction
    unknown: inputs.Unknown | None = None

    def give_inputs(self, workflows: Workflows) -> None:
        """Give attempts what memory knows of their inputs: not before the commit before this one is written, because
        that lets go of large ones."""
        self.unknown = inputs.give([*self.chosen, *self.batch.redelivered], workflows)

    @property
    def small(self) -> bool:
        """Whether it is written in one message."""
        return (
            not self.transaction.begun and self.unknown is None and at_once.fits(self.batch, self.chosen, self.queued)
        )


class Ledger:
    """Writes commits.

    Args:
        catalog: registered task kinds.
        audience: those who wait for news of runs.
    """

    def __init__(self, catalog: Catalog, audience: Audience) -> None:
        self._catalog = catalog
        self._audience = audience

    async def prepare(
        self, commands: list[Command], memory: Memory, transaction: Transaction, now: float
    ) -> PreparedCommit:
        """Carry commands out in memory, and choose who runs what. Nothing is written yet.

        An exception leaves the tables as they were, but not `memory`: it must be loaded anew.
        """
        batch = Batch(now, self._audience.followed)
        try:
            await self._apply(commands, batch, memory, transaction)
            chosen = await self._choose(batch, memory, transaction)
        except BaseException:
            memory.ended_in_vain += batch.ended
            await transaction.roll_back()
            raise
        queued = [item for item in batch.ready if not item.worker_id]
        return PreparedCommit(batch, chosen, queued, transaction)

    @staticmethod
    async def discard(prepared: PreparedCommit, memory: Memory) -> None:
        """A prepared commit is not to be written: the one before it has failed."""
        memory.ended_in_vain += prepared.batch.ended
        await prepared.transaction.roll_back()

    async def write(self, prepared: PreparedCommit, memory: Memory, seat: Seat) -> None:
        """Write a prepared commit and answer its commands. Only an engine that lives can commit it.

        An exception leaves the tables as they were, but not `memory`: it must be loaded anew.
        """
        batch, chosen, queued, transaction = prepared.batch, prepared.chosen, prepared.queued, prepared.transaction
        try:
            if prepared.small:
                await at_once.write(batch, chosen, seat.conn, engine_id=seat.engine_id)
            else:
                conn = await transaction.begin()
                await self._write(batch, chosen, queued, conn)
                # Now that the results of this very commit are there to be read.
                await inputs.load(prepared.unknown, conn)
                await transaction.commit()
        except BaseException:
            memory.ended_in_vain += batch.ended
            await transaction.roll_back()
            raise
        enqueue.settle(queued)
        memory.timers.note(batch, queued)
        memory.workflows.trim()
        self._tell(batch, chosen, memory)

    async def _apply(self, commands: list[Command], batch: Batch, memory: Memory, transaction: Transaction) -> None:
        triggers: list[Trigger] = []
        for command in commands:
            match command:
                case Report():
                    report.apply(command, memory.running, batch)
                case Trigger():
                    triggers.append(command)
                case Push():
                    await push.apply(command, batch, await transaction.begin())
                case Cancel() | Replay():
                    await self._alone(command, batch, memory, transaction)
                case _:
                    self._control(command, batch, memory)
        if triggers:
            await trigger.settle(triggers, batch, transaction.begin, memory.running)
        expire.overrun(memory.running, batch)
        if memory.timers.expiry_due(batch.now):
            conn = await transaction.begin()
            expired = await expire.expire_queued(self._catalog, batch, conn, memory.tenant_ids)
            memory.core.apply(Discarded(expired), batch.now)
            await memory.timers.reload_expiry(conn)
        if memory.timers.backoff_due(batch.now):
            conn = await transaction.begin()
            await expire.wake_due(self._catalog, batch, conn, memory.tenant_ids)
            await memory.timers.reload_backoff(conn)
        await self._advance(batch, memory, transaction)

    async def _advance(self, batch: Batch, memory: Memory, transaction: Transaction) -> None:
        """Move the workflow runs that this commit is about."""
        overslept: list[Fact] = []
        if memory.timers.sleep_due(batch.now):
            conn = await transaction.begin()
            overslept = await conditions.sleeps_over(batch, conn, memory.tenant_ids)
            await memory.timers.reload_sleep(conn)
        if overslept or batch.steps_ended or batch.begun or batch.pushed or batch.changes is not None:
            await advance(
                batch, overslept, workflows=memory.workflows, catalog=self._catalog, connect=transaction.begin
            )

    async def _alone(self, command: Cancel | Replay, batch: Batch, memory: Memory, transaction: Transaction) -> None:
        future = command.future
        match command:
            case Cancel():
                ids = await cancel.cancel(
                    command.tenant_id,
                    command.task_ids,
                    children=command.children,
                    running=memory.running,
                    workflows=memory.workflows,
                    catalog=self._catalog,
                    batch=batch,
                    connect=transaction.begin,
                )
            case Replay():
                ids = await replay.replay(
                    command.tenant_id,
                    command.task_ids,
                    running=memory.running,
                    workflows=memory.workflows,
                    catalog=self._catalog,
                    batch=batch,
                    connect=transaction.begin,
                )
        memory.core.apply(Discarded(batch.withdrawn), batch.now)
        batch.after.append(lambda: resolve(future, ids))

    @staticmethod
    def _control(command: Command, batch: Batch, memory: Memory) -> None:
        try:
            match command:
                case RefreshTimeout():
                    until = refresh.refresh_timeout(
                        command.tenant_id, command.task_id, command.seconds, memory.running, batch
                    )
                    batch.after.append(lambda: resolve(command.future, until))
                case ReleaseSlot():
                    refresh.release_slot(command.tenant_id, command.task_id, memory.running, batch)
                    batch.after.append(lambda: resolve(command.future, None))
                case WorkerJoined():
                    memory.join(command, batch)
                case WorkerChanged():
                    memory.change(command, batch.now)
                case WorkerLost():
                    for attempt in memory.running.of_worker(command.worker_id):
                        fail.lose(attempt, memory.running, batch, handed_back=False)
                    memory.lose(command.worker_id, batch)
                case Redeliver():
                    memory.redeliver(command, batch)
                case _:
                    raise AssertionError(command)
        except NotFound as error:
            # An answer, not a failure of the commit: nothing was changed.
            batch.after.append(lambda error=error: command.fail(error))  # type: ignore[misc]  # bound early

    async def _choose(self, batch: Batch, memory: Memory, transaction: Transaction) -> list[Attempt]:
        core = memory.core
        now = batch.now
        core.apply(Released(batch.freed), now)
        for wish in core.starving():
            items = await enqueue.read_window(
                self._catalog,
                await transaction.begin(),
                tenant_id=wish.tenant_id,
                queue_id=wish.queue_id,
                after=wish.after,
                limit=wish.limit,
            )
            core.apply(Refilled(wish.queue_id, items, complete=len(items) < wish.limit), now)
        if batch.ready:
            await memory.positions.reserve(len(batch.ready), transaction.begin)
            for item in batch.ready:
                memory.positions.place(item)
            core.apply(Queued(batch.ready), now)
        return assign.begin(core.apply(Tick(ASSIGN_AT_ONCE), now), memory.running, batch)

    async def _write(self, batch: Batch, chosen: list[Attempt], queued: list[Attempt], conn: Conn) -> None:
        """Write what has changed; what has not costs nothing."""
        await self._write_runs(batch, conn)
        if batch.changes is not None:
            await batch.changes.write(conn, batch.moment)
        if chosen:
            await assign.write(chosen, batch, conn)
        if queued:
            await enqueue.write(queued, conn)
        await self._write_notes(batch, conn)

    @staticmethod
    async def _write_runs(batch: Batch, conn: Conn) -> None:
        """Attempts that ended and what became of their runs; runs and events that are new."""
        if batch.ended:
            await finish.write_ended(batch.ended, conn)
        if batch.created:
            await trigger.write(batch, conn)
        if batch.results:
            await finish.write_results(batch, conn)
        if batch.waiting:
            await fail.write_waiting(batch.waiting, conn)
        if batch.pushed:
            await push.write(batch, conn)

    @staticmethod
    async def _write_notes(batch: Batch, conn: Conn) -> None:
        """What running attempts changed about themselves, and what is told about all of it."""
        if batch.started:
            await start.write(batch.started, conn)
        if batch.deadlines or batch.slots_released:
            await refresh.write(batch, conn)
        if batch.logs:
            await emit.write_logs(batch, conn)
        if batch.events:
            await emit.write_events(batch, conn)

    def _tell(self, batch: Batch, chosen: list[Attempt], memory: Memory) -> None:
        memory.deliver(chosen)
        memory.deliver(memory.redeliverable(batch))
        for worker_id, task_id, number, reason in batch.stops:
            memory.stop(worker_id, task_id, number, reason)
        for answer in batch.after:
            try:
                answer()
            except Exception as error:  # noqa: BLE001 - the commit is done: whatever a caller makes of it must not undo that
                _log.error("an answer could not be given", error=repr(error), exc_info=error)
        # In this order: the end of a run closes the stream on which its last event is shown.
        if batch.happenings:
            self._audience.tell_happened(batch.happenings)
        if batch.results:
            self._audience.tell_ended(batch.results)
