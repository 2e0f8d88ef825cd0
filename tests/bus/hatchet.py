"""A worker of the Hatchet contract by hand."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import grpc.aio

from treadle.wire.convert import hatchet_time
from treadle.wire.gen.hatchet import dispatcher_pb2 as pb

if TYPE_CHECKING:
    from tests.chaos.raw import RawClient

LONG = 20.0


class HatchetWorker:
    """Registers once, listens at any engine, and reports at any engine.

    Args:
        client: an engine, for the registration.
        action: what it can run.
    """

    def __init__(self, client: RawClient, action: str) -> None:
        self._client = client
        self._action = action
        self._arrived: asyncio.Queue[pb.AssignedAction] = asyncio.Queue()
        self._reader: asyncio.Task[None] | None = None
        self._call: Any = None
        self.worker_id = ""

    async def register(self) -> None:
        request = pb.WorkerRegisterRequest(worker_name="by-hand", actions=[self._action], slots=10)
        answer = await self._client.call("/Dispatcher/Register", request, pb.WorkerRegisterResponse)
        self.worker_id = answer.worker_id

    async def listen(self, client: RawClient) -> None:
        """Open the stream at this engine."""
        method: Any = client.channel.unary_stream(
            "/Dispatcher/ListenV2",
            request_serializer=pb.WorkerListenRequest.SerializeToString,
            response_deserializer=pb.AssignedAction.FromString,
        )
        call = self._call = method(pb.WorkerListenRequest(worker_id=self.worker_id), metadata=client.metadata)
        self._reader = asyncio.create_task(self._read(call))
        await self.beat(client)

    async def beat(self, client: RawClient) -> None:
        """A heartbeat; answered once the stream is open."""
        request = pb.HeartbeatRequest(worker_id=self.worker_id, heartbeat_at=hatchet_time(time.time_ns() // 1000))
        await client.call("/Dispatcher/Heartbeat", request, pb.HeartbeatResponse)

    async def _read(self, call: Any) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            async for action in call:
                self._arrived.put_nowait(action)

    async def receive(self) -> pb.AssignedAction:
        """The next action."""
        return await asyncio.wait_for(self._arrived.get(), LONG)

    async def report(
        self, client: RawClient, action: pb.AssignedAction, kind: pb.StepActionEventType.ValueType, payload: str = ""
    ) -> None:
        """Tell of an action; returns once the report is durable."""
        event = pb.StepActionEvent(
            worker_id=self.worker_id,
            job_id=action.job_id,
            job_run_id=action.job_run_id,
            task_id=action.task_id,
            task_run_external_id=action.task_run_external_id,
            action_id=action.action_id,
            event_timestamp=hatchet_time(time.time_ns() // 1000),
            event_type=kind,
            event_payload=payload,
            retry_count=action.retry_count,
        )
        await client.call("/Dispatcher/SendStepActionEvent", event, pb.ActionEventResponse)

    async def ended(self) -> None:
        """Wait until the engine ends the stream."""
        assert self._reader is not None
        await asyncio.wait_for(asyncio.wait({self._reader}), LONG)

    async def close(self) -> None:
        if self._reader is not None:
            self._call.cancel()
            await self._reader
