"""Dispatcher/ListenV2: the stream on which a Hatchet worker gets its work."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from treadle.dispatcher.actions import assigned_action, cancel_action
from treadle.dispatcher.oversize import too_large
from treadle.engine.commands import Redeliver, WorkerChanged, WorkerJoined
from treadle.model.errors import NotFound
from treadle.storage import register as rows
from treadle.wire.ids import checked_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from treadle.dispatcher.liveness import Liveness
    from treadle.engine.attempt import Attempt
    from treadle.engine.commands import Report
    from treadle.engine.inbox import Door
    from treadle.engine.ports import StopReason
    from treadle.runtime.clock import Clock
    from treadle.storage.database import Database
    from treadle.wire.gen.hatchet import dispatcher_pb2 as pb
    from treadle.wire.serving import Caller, Handlers, Stream

# What a worker has not begun this long after its stream opened never reached it. After an engine's restart, its reports
# of starts come late too, after retries with pauses of up to ten seconds.
_REDELIVER_AFTER = 2.0
_REDELIVER_AFTER_RESTART = 12.0


class Listener:
    """One open stream to a Hatchet worker; what waits in it is bounded by the worker's slots.

    Args:
        worker_id: the worker.
        caller: its tenant.
        max_bytes: largest message.
        refuse: takes the report of an attempt that no message can hold.
    """

    def __init__(self, worker_id: str, caller: Caller, *, max_bytes: int, refuse: Callable[[Report], None]) -> None:
        self.worker_id = worker_id
        self.tenant_id = caller.tenant_id
        self._tenant = caller.tenant
        self._max_bytes = max_bytes
        self._refuse = refuse
        self._actions: deque[pb.AssignedAction] = deque()
        self._filled = asyncio.Event()
        self._closed = False

    def deliver(self, attempts: Sequence[Attempt]) -> None:
        """Send attempts, one message each."""
        for attempt in attempts:
            action = assigned_action(attempt, self._tenant)
            if attempt.run_id is not None:
                refusal = too_large(attempt, action.ByteSize(), self._max_bytes, self.worker_id)
                if refusal is not None:
                    self._refuse(refusal)
                    continue
            self._actions.append(action)
        self._filled.set()

    def stop(self, task_id: str, attempt: int, reason: StopReason) -> None:
        """Tell the worker to stop an attempt; why makes no difference on this contract."""
        del reason
        self._actions.append(cancel_action(self._tenant, task_id, attempt))
        self._filled.set()

    def close(self) -> None:
        """End the stream after what waits in it."""
        self._closed = True
        self._filled.set()

    async def write_to(self, stream: Stream) -> None:
        """Send until closed."""
        while True:
            while self._actions:
                await stream.write(self._actions.popleft())
            if self._closed:
                return
            self._filled.clear()
            await self._filled.wait()


class Listeners:
    """Serves the streams, and knows which are open.

    Args:
        inbox: the engine's loop.
        database: where workers are stored.
        liveness: who is alive.
        clock: the time.
        lost_after: seconds of silence after which a worker is lost.
        max_message_bytes: largest message.
    """

    def __init__(
        self,
        *,
        inbox: Door,
        database: Database,
        liveness: Liveness,
        clock: Clock,
        lost_after: float,
        max_message_bytes: int,
    ) -> None:
        self._inbox = inbox
        self._database = database
        self._liveness = liveness
        self._clock = clock
        self._lost_after = lost_after
        self._max_bytes = max_message_bytes
        self._open: dict[str, Listener] = {}
        # Workers whose stream is being opened, or was opened by this engine before.
        self._opening: dict[str, asyncio.Event] = {}
        self._met: set[str] = set()

    def handlers(self) -> Handlers:
        """What this module serves."""
        return {"/Dispatcher/Listen": self.listen, "/Dispatcher/ListenV2": self.listen}

    def serves(self, worker_id: str, tenant_id: int) -> bool:
        """Whether this tenant's worker has a stream open here."""
        found = self._open.get(worker_id)
        return found is not None and found.tenant_id == tenant_id

    async def wait_open(self, worker_id: str, tenant_id: int, seconds: float) -> bool:
        """Whether this tenant's worker has a stream open here, or opens one within this time."""
        if not self.serves(worker_id, tenant_id):
            opened = self._opening.setdefault(worker_id, asyncio.Event())
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await opened.wait()
            if self._opening.get(worker_id) is opened:
                del self._opening[worker_id]
        return self.serves(worker_id, tenant_id)

    def close_one(self, worker_id: str, tenant_id: int) -> bool:
        """Close a worker's stream; False when there is none."""
        if not self.serves(worker_id, tenant_id):
            return False
        self._open[worker_id].close()
        return True

    def close(self) -> None:
        """The engine is stopping: workers open their streams again on the next one."""
        for listener in self._open.values():
            listener.close()

    async def listen(self, request: pb.WorkerListenRequest, caller: Caller, stream: Stream) -> None:
        """Serve one worker until its stream ends. A known worker is welcome again under its id at any time."""
        worker_id = checked_id(request.worker_id, "worker_id")
        async with self._database.connection() as conn:
            worker = await rows.find_worker(conn, tenant_id=caller.tenant_id, id=worker_id)
            if worker is None:
                raise NotFound("worker_id", f"no worker {worker_id}; register first")
            queues = await rows.ensure_queues(conn, tenant_id=caller.tenant_id, names=worker.actions)
        earlier = self._open.get(worker_id)
        if earlier is not None:
            earlier.close()
        listener = self._open[worker_id] = Listener(
            worker_id, caller, max_bytes=self._max_bytes, refuse=self._inbox.put_control
        )
        self._liveness.watch(worker_id, caller.tenant_id, self._lost_after)
        opening = self._opening.pop(worker_id, None)
        if opening is not None:
            opening.set()
        opened_at = self._clock.now()
        self._inbox.put_control(
            WorkerJoined(
                caller.tenant_id,
                worker_id,
                list(queues.values()),
                json.loads(worker.slots),
                listener,
                in_hand=None,
                paused=worker.paused,
            )
        )
        pause = _REDELIVER_AFTER if worker_id in self._met else _REDELIVER_AFTER_RESTART
        self._met.add(worker_id)
        redelivery = asyncio.get_running_loop().call_later(
            pause, self._inbox.put_control, Redeliver(caller.tenant_id, worker_id, listener, opened_at)
        )
        try:
            await listener.write_to(stream)
        finally:
            redelivery.cancel()
            if self._open.get(worker_id) is listener:
                del self._open[worker_id]
            self._inbox.put_control(WorkerChanged(caller.tenant_id, worker_id, listener, gone=True))
