"""Tells the engine which tasks and workflows exist and with what settings."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from treadle.model.durations import format_duration
from treadle.sdk.options import TaskOptions, milliseconds
from treadle.sdk.worker.conditions_to_proto import conditions_of
from treadle.sdk.workflow import Workflow
from treadle.wire.gen.hatchet.v1 import workflows_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from treadle.sdk.gateway import Gateway
    from treadle.sdk.steps import WorkflowFunction
    from treadle.sdk.task import FunctionTask

    Registered = FunctionTask[..., Any, ..., Any] | Workflow[Any]

_AT_ONCE = 8
_PATH = "/v1.AdminService/PutWorkflow"
DEFAULT_SLOT = "default"


def definition_of(one: Registered) -> workflows_pb2.CreateWorkflowVersionRequest:
    """What the engine stores: a workflow with its tasks; for a task of its own, one of a single task of the same name."""
    if isinstance(one, Workflow):
        request = workflows_pb2.CreateWorkflowVersionRequest(
            name=one.name, description=one.description, default_priority=one.priority
        )
        for task in one.ordered():
            step = request.tasks.add()
            step.MergeFrom(_step_of(task))
            step.parents.extend(parent.name for parent in one.parents_of(task))
        handler = one.with_role("on_failure")
        if handler is not None:
            request.on_failure_task.MergeFrom(_step_of(handler))
    else:
        options = one.task_options
        request = workflows_pb2.CreateWorkflowVersionRequest(
            name=one.name,
            description=options.description,
            tasks=[_step(one.name, one.action, options)],
            default_priority=options.priority,
        )
    schema = one.input.json_schema()
    if schema is not None:
        request.input_json_schema = json.dumps(schema, separators=(",", ":")).encode()
    return request


def _step_of(task: WorkflowFunction[Any, Any, Any]) -> workflows_pb2.CreateTaskOpts:
    step = _step(task.name, task.action, task.task_options)
    if task.conditions.any:
        step.conditions.MergeFrom(conditions_of(task.conditions))
    return step


def _step(name: str, action: str, options: TaskOptions) -> workflows_pb2.CreateTaskOpts:
    step = workflows_pb2.CreateTaskOpts(readable_id=name, action=action, inputs="{}", retries=options.retries)
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
    return step


async def register(gateway: Gateway, all_of_them: Iterable[Registered]) -> None:
    """Put all definitions, a few at a time; on the I/O thread. One that has not changed costs the engine little.

    Raises:
        TreadleError: The engine refuses one; the message names it.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def put(one: Registered) -> None:
        async with gate:
            await gateway.unary(_PATH, definition_of(one), repeatable=True)

    known = list(all_of_them)
    results = await asyncio.gather(*(put(one) for one in known), return_exceptions=True)
    for one, result in zip(known, results, strict=True):
        if isinstance(result, BaseException):
            result.add_note(f"while registering {'workflow' if isinstance(one, Workflow) else 'task'} {one.name}")
            raise result
