"""A worker of the Hatchet contract made of bare calls: every step is the test's."""

import asyncio
from typing import Any, Self
from uuid import uuid4

from tests.wire_edge.raw import RawClient, action_of

STARTED, COMPLETED, FAILED, ACKNOWLEDGED = 1, 2, 3, 4
START_STEP_RUN, CANCEL_STEP_RUN = 0, 1
ACTION_SECONDS = 15.0
PULSE_SECONDS = 1.0


class RawWorker:
    """Registered for one workflow, listening on its own stream.

    Without a pulse it is given no work any more after some seconds, as any worker that falls silent.
    """

    def __init__(self, client: RawClient, task_name: str, *, has_pulse: bool = False) -> None:
        self._client = client
        self._task_name = task_name
        self._has_pulse = has_pulse
        self._pulse: asyncio.Task[None] | None = None
        self.name = f"raw-{uuid4().hex}"
        self.worker_id = ""
        self._stream: Any = None

    async def __aenter__(self) -> Self:
        answer = await self._client.call(
            "/Dispatcher/Register",
            worker_name=self.name,
            actions=[action_of(self._task_name)],
            services=["default"],
            slot_config={"default": 5},
        )
        self.worker_id = answer.worker_id
        await self.listen()
        if self._has_pulse:
            self._pulse = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *failure: object) -> None:
        if self._pulse is not None:
            self._pulse.cancel()
        self._stream.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(PULSE_SECONDS)
            await self._client.call("/Dispatcher/Heartbeat", worker_id=self.worker_id)

    async def listen(self) -> None:
        """Open the stream of actions; a second time, as after a broken connection."""
        if self._stream is not None:
            self._stream.cancel()
        self._stream = self._client.subscribe(
            "/Dispatcher/ListenV2", self._client.new("/Dispatcher/ListenV2", worker_id=self.worker_id)
        )

    async def next_action(self) -> Any:
        return await asyncio.wait_for(self._stream.read(), ACTION_SECONDS)

    async def send(self, action: Any, event_type: int, payload: str = "", **fields: Any) -> Any:
        """Report on an attempt, as the SDKs do it; `fields` say it differently."""
        report = {
            "worker_id": self.worker_id,
            "job_id": action.job_id,
            "job_run_id": action.job_run_id,
            "task_id": action.task_id,
            "task_run_external_id": action.task_run_external_id,
            "action_id": action.action_id,
            "event_type": event_type,
            "event_payload": payload,
            "retry_count": action.retry_count,
        }
        wanted = {key: value for key, value in (report | fields).items() if value is not None}
        return await self._client.call("/Dispatcher/SendStepActionEvent", **wanted)
