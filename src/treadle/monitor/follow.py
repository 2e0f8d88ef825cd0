"""Dispatcher/SubscribeToWorkflowEvents: one run's events, live, with the chunks that its task streams."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from treadle.model.errors import InvalidInput, NotFound, Unsupported
from treadle.model.states import EventKind, RunStatus
from treadle.wire.convert import hatchet_time
from treadle.wire.gen.hatchet import dispatcher_pb2 as pb
from treadle.wire.gen.hatchet import events_pb2
from treadle.wire.ids import checked_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.engine.ports import Ended, Happening, StepEnd
    from treadle.engine.running import RunningView
    from treadle.monitor.audience import RunAudience
    from treadle.runtime.clock import Clock
    from treadle.wire.serving import Caller, Handlers, Stream

_STEP_EVENTS = {
    EventKind.STARTED: pb.RESOURCE_EVENT_TYPE_STARTED,
    EventKind.COMPLETED: pb.RESOURCE_EVENT_TYPE_COMPLETED,
    EventKind.FAILED: pb.RESOURCE_EVENT_TYPE_FAILED,
    EventKind.CANCELLED: pb.RESOURCE_EVENT_TYPE_CANCELLED,
    # This contract has no word for it; the payload says so.
    EventKind.SKIPPED: pb.RESOURCE_EVENT_TYPE_COMPLETED,
}
_RUN_EVENTS = {
    RunStatus.COMPLETED: pb.RESOURCE_EVENT_TYPE_COMPLETED,
    RunStatus.FAILED: pb.RESOURCE_EVENT_TYPE_FAILED,
    RunStatus.CANCELLED: pb.RESOURCE_EVENT_TYPE_CANCELLED,
    RunStatus.SKIPPED: pb.RESOURCE_EVENT_TYPE_COMPLETED,
}
MAX_BEHIND = 10_000
"""Events that a slow follower may lag behind; then its stream is closed rather than the engine's memory filled."""


class _Follower:
    """The events of one run, and of its tasks if it is a workflow run, in order, for one stream."""

    wants_steps = False

    def __init__(self, run_id: str, clock: Clock) -> None:
        self.run_id = run_id
        self.events: asyncio.Queue[pb.WorkflowEvent | None] = asyncio.Queue(MAX_BEHIND)
        self.overrun = False
        self.missing = False
        self._clock = clock

    def happened(self, happening: Happening) -> None:
        event_type = _STEP_EVENTS.get(happening.kind)
        if event_type is not None:
            self.put(
                self._event(
                    pb.RESOURCE_TYPE_STEP_RUN,
                    event_type,
                    happening.payload,
                    happening.task_id,
                    task_retries=happening.retries,
                    retry_count=happening.attempt - 1,
                )
            )

    def chunk(self, text: str, task_id: str, attempt: int, index: int | None) -> None:
        event = self._event(
            pb.RESOURCE_TYPE_STEP_RUN, pb.RESOURCE_EVENT_TYPE_STREAM, text, task_id, retry_count=attempt - 1
        )
        if index is not None:
            event.event_index = index
        self.put(event)

    def ended(self, ended: Ended, steps: Sequence[StepEnd] = ()) -> None:
        del steps
        event = self._event(pb.RESOURCE_TYPE_WORKFLOW_RUN, _RUN_EVENTS[ended.status], ended.error or "", ended.task_id)
        event.hangup = True
        self.put(event)
        self.put(None)

    def unknown(self, task_id: str) -> None:
        del task_id
        self.missing = True
        self.put(None)

    def put(self, event: pb.WorkflowEvent | None) -> None:
        try:
            self.events.put_nowait(event)
        except asyncio.QueueFull:
            self.overrun = True

    def _event(
        self,
        resource: pb.ResourceType.ValueType,
        event_type: pb.ResourceEventType.ValueType,
        payload: str,
        resource_id: str,
        *,
        task_retries: int | None = None,
        retry_count: int | None = None,
    ) -> pb.WorkflowEvent:
        return pb.WorkflowEvent(
            workflow_run_id=self.run_id,
            resource_type=resource,
            event_type=event_type,
            resource_id=resource_id,
            event_timestamp=hatchet_time(int(self._clock.now() * 1_000_000)),
            event_payload=payload,
            task_retries=task_retries,
            retry_count=retry_count,
        )


class RunEvents:
    """Serves the events of single runs.

    Args:
        audience: who is told of events and ends.
        running: which attempts run.
        clock: the time.
    """

    def __init__(self, audience: RunAudience, running: RunningView, clock: Clock) -> None:
        self._audience = audience
        self._running = running
        self._clock = clock
        self._open: set[_Follower] = set()

    def close(self) -> None:
        """The engine is stopping: streams end."""
        for follower in self._open:
            follower.put(None)

    def handlers(self) -> Handlers:
        """What this module serves."""
        return {
            "/Dispatcher/SubscribeToWorkflowEvents": self.subscribe,
            "/EventsService/PutStreamEvent": self.put_stream_event,
        }

    async def subscribe(self, request: pb.SubscribeToWorkflowEventsRequest, caller: Caller, stream: Stream) -> None:
        """Follow a run until it ends; one that has ended closes the stream at once."""
        if not request.workflow_run_id and not request.additional_meta_key:
            raise InvalidInput("workflow_run_id", "say which run to follow")
        if not request.workflow_run_id:
            raise Unsupported("additional_meta_key", "following runs by metadata is not served by this version")
        task_id = checked_id(request.workflow_run_id, "workflow_run_id")
        follower = _Follower(task_id, self._clock)
        self._open.add(follower)
        self._audience.follow(task_id, follower)
        self._audience.wait_for(caller.tenant_id, [task_id], follower)
        try:
            while not follower.overrun:
                event = await follower.events.get()
                if event is None:
                    break
                await stream.write(event)
            if follower.missing:
                raise NotFound("workflow_run_id", f"no run {task_id}")
        finally:
            self._audience.stop_waiting(caller.tenant_id, [task_id], follower)
            self._audience.unfollow(task_id, follower)
            self._open.discard(follower)

    async def put_stream_event(
        self, request: events_pb2.PutStreamEventRequest, caller: Caller
    ) -> events_pb2.PutStreamEventResponse:
        """Pass a chunk on to those who follow the run now."""
        task_id = checked_id(request.task_run_external_id, "task_run_external_id")
        attempt = self._running.current(caller.tenant_id, task_id, 0)
        if attempt is None:
            raise NotFound("task_run_external_id", f"no running task {task_id}")
        index = request.event_index if request.HasField("event_index") else None
        text = request.message.decode("utf-8", "replace")
        for followed in dict.fromkeys((task_id, attempt.workflow_run_id)):
            for follower in self._audience.followers(followed):
                if isinstance(follower, _Follower):
                    follower.chunk(text, task_id, attempt.attempt, index)
        return events_pb2.PutStreamEventResponse()
