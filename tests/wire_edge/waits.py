"""A workflow whose second task waits for an event, with a worker made of bare calls."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from tests.wire_edge.raw import RawClient, action_of
from tests.wire_edge.workers import COMPLETED, RawWorker

SINCE_THE_RUN_BEGAN = {"seconds": 0, "nanos": 1000}
FIRST, SECOND = "first", "second"


class Waits:
    """The workflow, its worker, and the key of the event."""

    def __init__(self, client: RawClient, worker: RawWorker, name: str, key: str) -> None:
        self._client = client
        self._worker = worker
        self._name = name
        self.key = key
        self._arrived: dict[str, Any] = {}

    async def start(self) -> str:
        """A run of which both tasks are still to come."""
        return await self._client.trigger(self._name)

    async def action(self, task: str, run_id: str) -> Any:
        """What the worker is told to do: a task of a run."""
        while f"{run_id} {task}" not in self._arrived:
            action = await self._worker.next_action()
            self._arrived[f"{action.workflow_run_id} {action.task_name}"] = action
        return self._arrived.pop(f"{run_id} {task}")

    async def complete(self, action: Any) -> None:
        await self._worker.send(action, COMPLETED, "{}")

    async def begin_to_wait(self) -> str:
        """A run whose second task waits for the event."""
        run_id = await self.start()
        await self.complete(await self.action(FIRST, run_id))
        return run_id

    async def met_by(self, run_id: str) -> Any:
        """The payload of the event that let the second task start; the run ends."""
        action = await self.action(SECOND, run_id)
        await self.complete(action)
        return json.loads(action.action_payload)["triggers"][self.key]

    async def still_waits(self, run_id: str) -> bool:
        """Whether the second task has not been started by now: what happened before has been committed."""
        details = await self._client.call("/v1.AdminService/GetRunDetails", external_id=run_id)
        return not details.done and SECOND not in details.task_runs


@asynccontextmanager
async def waiting(
    client: RawClient, *, expression: str = "", scope: str | None = None, look_back: bool = False
) -> AsyncIterator[Waits]:
    """Register the workflow and connect a worker."""
    name, key = f"waits-{uuid4().hex}", f"key-{uuid4().hex}"
    base = {"readable_data_key": key, "action": 1, "or_group_id": "a", "expression": expression}
    condition: dict[str, Any] = {"base": base, "user_event_key": key}
    if scope is not None:
        condition["event_scope"] = scope
    if look_back:
        condition["consider_events_since"] = SINCE_THE_RUN_BEGAN
    task = {"action": action_of(name), "timeout": "60s", "slot_requests": {"default": 1}}
    second = {"readable_id": SECOND, "parents": [FIRST], "conditions": {"user_event_conditions": [condition]}}
    await client.call("/v1.AdminService/PutWorkflow", name=name, tasks=[task | {"readable_id": FIRST}, task | second])
    async with RawWorker(client, name, has_pulse=True) as worker:
        yield Waits(client, worker, name, key)


async def turns(count: int) -> None:
    """Let others go first, so many times."""
    for _ in range(count):
        await asyncio.sleep(0)
