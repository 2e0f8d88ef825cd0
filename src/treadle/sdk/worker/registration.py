"""Tells the engine which tasks exist and with what settings."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from treadle.model.durations import format_duration
from treadle.sdk.options import milliseconds
from treadle.wire.gen.hatchet.v1 import workflows_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from treadle.sdk.gateway import Gateway
    from treadle.sdk.task import FunctionTask

_AT_ONCE = 8
_PATH = "/v1.AdminService/PutWorkflow"
DEFAULT_SLOT = "default"


def action_of(name: str) -> str:
    """What a worker offers and a delivery names: `service:verb`, both the task's own name."""
    return f"{name.lower()}:{name.lower()}"


def definition_of(task: FunctionTask[..., Any, ..., Any]) -> workflows_pb2.CreateWorkflowVersionRequest:
    """The task as the engine stores it: a workflow of one step with the same name."""
    options = task.task_options
    step = workflows_pb2.CreateTaskOpts(
        readable_id=task.name, action=action_of(task.name), inputs="{}", retries=options.retries
    )
    if options.timeout is not None:
        step.timeout = format_duration(milliseconds(options.timeout))
    if options.schedule_timeout is not None:
        step.schedule_timeout = format_duration(milliseconds(options.schedule_timeout))
    if options.backoff is not None:
        step.backoff_factor = options.backoff.factor
        if options.backoff.max is not None:
            step.backoff_max_seconds = -(-milliseconds(options.backoff.max) // 1000)
    if options.slots != 1:
        step.slot_requests[DEFAULT_SLOT] = options.slots
    request = workflows_pb2.CreateWorkflowVersionRequest(
        name=task.name, description=options.description, tasks=[step], default_priority=options.priority
    )
    schema = task.input.json_schema()
    if schema is not None:
        request.input_json_schema = json.dumps(schema, separators=(",", ":")).encode()
    return request


async def register(gateway: Gateway, tasks: Iterable[FunctionTask[..., Any, ..., Any]]) -> None:
    """Put all definitions, a few at a time; on the I/O thread. One that has not changed costs the engine little.

    Raises:
        TreadleError: The engine refuses one; the message names it.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def put(task: FunctionTask[..., Any, ..., Any]) -> None:
        async with gate:
            await gateway.unary(_PATH, definition_of(task), repeatable=True)

    results = await asyncio.gather(*(put(task) for task in tasks), return_exceptions=True)
    for task, result in zip(tasks, results, strict=True):
        if isinstance(result, BaseException):
            result.add_note(f"while registering task {task.name}")
            raise result
