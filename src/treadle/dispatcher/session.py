"""treadle.v1.Worker/Session: one stream per worker that carries batches both ways."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import structlog

from treadle.dispatcher.frames import SessionLink, hear, number, report_from_frame
from treadle.engine.commands import Report, WorkerChanged, WorkerJoined, resolve
from treadle.model.errors import InvalidInput, TreadleError
from treadle.model.ids import is_id, new_id
from treadle.model.names import check_name
from treadle.runtime.clock import moment
from treadle.storage import register as rows
from treadle.wire.gen.treadle.v1 import worker_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from treadle.dispatcher.liveness import Liveness
    from treadle.engine.inbox import Door
    from treadle.engine.running import RunningView
    from treadle.runtime.clock import Clock
    from treadle.storage.database import Database
    from treadle.wire.serving import Caller, Handlers, Stream

_log = structlog.get_logger()

PROTOCOL = 2
RESEND_AFTER = 5.0
"""Seconds without a word about a delivery after which it is sent again."""

_DOUBT_EVERY = 5.0
"""Seconds between looks at what a worker says it runs: an engine elsewhere may have to be asked."""


class Sessions:
    """Serves worker sessions.

    Args:
        inbox: the engine's loop.
        database: where workers are stored.
        running: what runs, of the tenants of this engine.
        liveness: who is alive.
        clock: the time.
        lost_after: seconds of silence after which a worker is lost.
        canary_interval: seconds between canaries.
        max_message_bytes: largest frame.
        version: the engine's version, told in the welcome.
    """

    def __init__(
        self,
        *,
        inbox: Door,
        database: Database,
        running: RunningView,
        liveness: Liveness,
        clock: Clock,
        lost_after: float,
        canary_interval: float,
        max_message_bytes: int,
        version: str,
    ) -> None:
        self._inbox = inbox
        self._database = database
        self._running = running
        self._liveness = liveness
        self._clock = clock
        self._lost_after = lost_after
        self._canary_interval = canary_interval
        self._max_bytes = max_message_bytes
        self._version = version
        self._links: dict[str, SessionLink] = {}

    def handlers(self) -> Handlers:
        """What this module serves."""
        return {"/treadle.v1.Worker/Session": self.session}

    def close(self) -> None:
        """Ask every connected worker to connect again: this engine is stopping."""
        for link in self._links.values():
            link.goodbye()
            link.close()

    async def session(self, frames: AsyncIterator[worker_pb2.WorkerFrame], caller: Caller, stream: Stream) -> None:
        """Serve one worker until its stream ends."""
        link, in_hand, paused = await self._greet(frames, caller)
        worker_id = link.worker_id
        earlier = self._links.get(worker_id)
        if earlier is not None:
            earlier.close()
        self._links[worker_id] = link
        self._liveness.watch(worker_id, caller.tenant_id, self._lost_after)
        self._inbox.put_control(
            WorkerJoined(caller.tenant_id, worker_id, link.queue_ids, link.capacity, link, in_hand, paused)
        )
        reader = asyncio.create_task(self._read(frames, link))
        canaries = asyncio.create_task(self._send_canaries(link))
        reader.add_done_callback(lambda _: link.close())
        try:
            await link.write_to(stream)
            if reader.done() and not reader.cancelled() and (problem := reader.exception()) is not None:
                raise problem
        finally:
            reader.cancel()
            canaries.cancel()
            if self._links.get(worker_id) is link:
                del self._links[worker_id]
            self._inbox.put_control(WorkerChanged(caller.tenant_id, worker_id, link, gone=True))

    async def _greet(
        self, frames: AsyncIterator[worker_pb2.WorkerFrame], caller: Caller
    ) -> tuple[SessionLink, set[tuple[str, int]], bool]:
        first = await anext(aiter(frames), None)
        if first is None or not first.HasField("hello"):
            raise InvalidInput("hello", "the first frame of a session must carry it")
        hello = first.hello
        name = check_name(hello.name, "hello.name")
        if hello.worker_id and not is_id(hello.worker_id):
            raise InvalidInput("hello.worker_id", "must be empty or the id that an earlier welcome gave")
        for slot_type, units in hello.slots.items():
            if units < 0:
                raise InvalidInput(f"hello.slots[{slot_type!r}]", f"must be 0 or more, not {units}")
        actions = sorted({action.lower() for action in hello.actions})
        runtime = {
            "sdk_version": hello.sdk_version,
            "language": "PYTHON",
            "language_version": hello.language_version,
            "os": hello.os,
        }
        async with self._database.connection() as conn:
            known = None
            if hello.worker_id:
                known = await rows.find_worker(conn, tenant_id=caller.tenant_id, id=hello.worker_id)
            # An id that this tenant does not have is answered with a new one.
            worker_id = new_id() if known is None else known.id
            queues = await rows.ensure_queues(conn, tenant_id=caller.tenant_id, names=actions)
            await rows.insert_worker(
                conn,
                tenant_id=caller.tenant_id,
                id=worker_id,
                name=name,
                protocol=PROTOCOL,
                actions=actions,
                slots=json.dumps(dict(hello.slots)),
                labels=json.dumps(dict(hello.labels)),
                runtime=json.dumps(runtime),
                now=moment(self._clock.now()),
            )
        link = SessionLink(
            worker_id,
            caller.tenant_id,
            queue_ids=[queues[action] for action in actions],
            capacity=dict(hello.slots),
            max_bytes=self._max_bytes,
            refuse=self._inbox.put_control,
        )
        link.welcome(
            worker_pb2.Welcome(
                worker_id=worker_id,
                engine_version=self._version,
                canary_interval_ms=round(self._canary_interval * 1000),
                lost_after_ms=round(self._lost_after * 1000),
                max_message_bytes=self._max_bytes,
            )
        )
        in_hand = {(entry.task_id, entry.attempt) for entry in hello.in_hand}
        return link, in_hand, known is not None and known.paused

    async def _read(self, frames: AsyncIterator[worker_pb2.WorkerFrame], link: SessionLink) -> None:
        doubted_at = 0.0
        async for frame in frames:
            self._liveness.seen(link.worker_id)
            hear(frame, link)
            report = report_from_frame(frame, link)
            if report is not None:
                await self._inbox.put_when_room(report)
            if frame.heartbeat.running and (now := time.monotonic()) - doubted_at > _DOUBT_EVERY:
                doubted_at = now
                await self._doubt(frame.heartbeat, link)
            if frame.draining and not link.draining:
                link.draining = True
                self._inbox.put_control(WorkerChanged(link.tenant_id, link.worker_id, link, available=False))
        # The worker has closed its side: whatever it reported before must still be settled.
        settled = asyncio.get_running_loop().create_future()
        last = Report(link.tenant_id, link.worker_id, lambda _settled, _stale, _error: resolve(settled, None))
        try:
            await self._inbox.put_when_room(last)
            await settled
        except TreadleError:
            return
        if link.draining:
            self._liveness.forget(link.worker_id)

    async def _doubt(self, heartbeat: worker_pb2.Heartbeat, link: SessionLink) -> None:
        """Have the loop look at attempts that a worker runs and that do not seem to be current.

        Only the loop can tell: between two commits, memory is ahead of what is true.
        """
        doubtful = [
            (entry.task_id, number(entry.attempt))
            for entry in heartbeat.running
            if self._running.current(link.tenant_id, entry.task_id, number(entry.attempt)) is None
        ]
        if doubtful:
            await self._inbox.put_when_room(Report(link.tenant_id, link.worker_id, link.answer, running=doubtful))

    async def _send_canaries(self, link: SessionLink) -> None:
        count = 0
        while True:
            await asyncio.sleep(self._canary_interval)
            count += 1
            link.canary(count)
            again = link.resend(now=time.monotonic(), after=RESEND_AFTER)
            if again:
                _log.info("sent deliveries again that the worker has not named", worker=link.worker_id, count=again)
