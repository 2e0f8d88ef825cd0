"""A workflow in which everything happens that can happen to a task, and a worker made of bare calls that runs it.

good ──┬── skipped          (it is skipped: its condition says so)
       └── bad ── after     (it fails, so what waits for it is cancelled)
mend                        (told of the failure)
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from tests.wire_edge.raw import RawClient, action_of
from tests.wire_edge.workers import COMPLETED, FAILED, STARTED, RawWorker

GOOD, SKIPPED, BAD, AFTER, MEND = "good", "skipped", "bad", "after", "mend"
SKIP = 3


class Flow:
    """The workflow, and its worker."""

    def __init__(self, client: RawClient, worker: RawWorker, name: str) -> None:
        self.client = client
        self.worker = worker
        self.name = name

    async def start(self, payload: str = "{}", **fields: Any) -> str:
        """A run, of which the first task is on its way to the worker."""
        return await self.client.trigger(self.name, payload, **fields)

    async def act(self, task: str) -> Any:
        """The next thing that the worker is told to do, which must be this task."""
        action = await self.worker.next_action()
        assert action.task_name == task
        return action

    async def succeed(self, task: str, output: str) -> Any:
        """The worker is given a task, and completes it."""
        action = await self.act(task)
        await self.worker.send(action, STARTED)
        await self.worker.send(action, COMPLETED, output)
        return action

    async def fail(self, task: str, error: str) -> Any:
        """The worker is given a task, and fails."""
        action = await self.act(task)
        await self.worker.send(action, STARTED)
        await self.worker.send(action, FAILED, error, should_not_retry=True)
        return action

    async def run_to_its_end(self, payload: str = "{}") -> tuple[str, dict[str, Any]]:
        """A run that has failed and been mended; its id, and what the worker was told by task."""
        run_id = await self.start(payload)
        told = {GOOD: await self.succeed(GOOD, '{"n": 1}')}
        told[BAD] = await self.fail(BAD, "Boom: on purpose\nline two")
        told[MEND] = await self.succeed(MEND, '{"mended": true}')
        return run_id, told


@asynccontextmanager
async def flowing(client: RawClient) -> AsyncIterator[Flow]:
    """Register the workflow and connect its worker."""
    name = f"flow-{uuid4().hex}"
    await register(client, name)
    async with RawWorker(client, name, has_pulse=True) as worker:
        yield Flow(client, worker, name)


async def register(client: RawClient, name: str) -> None:
    def task(readable_id: str, *parents: str, **more: Any) -> dict[str, Any]:
        return {
            "readable_id": readable_id,
            "action": action_of(name),
            "timeout": "60s",
            "slot_requests": {"default": 1},
            "parents": parents,
            **more,
        }

    base = {"readable_data_key": "k", "action": SKIP, "or_group_id": "a", "expression": "output.n == 1"}
    conditions = {"parent_override_conditions": [{"base": base, "parent_readable_id": GOOD}]}
    await client.call(
        "/v1.AdminService/PutWorkflow",
        name=name,
        tasks=[task(GOOD), task(SKIPPED, GOOD, conditions=conditions), task(BAD, GOOD), task(AFTER, BAD)],
        on_failure_task=task(MEND),
    )


def payload_of(action: Any) -> dict[str, Any]:
    """What a worker was told besides the ids."""
    value: dict[str, Any] = json.loads(action.action_payload)
    return value
