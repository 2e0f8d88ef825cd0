"""Treadle: functions become tasks that run on workers, survive crashes and are paid for once.

Names are loaded when first used: `import treadle` alone costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treadle.model.errors import (
        Conflict,
        Exhausted,
        InvalidInput,
        NotFound,
        PermissionDenied,
        TreadleError,
        Unavailable,
        Unsupported,
    )
    from treadle.model.states import RunStatus
    from treadle.sdk.app import Treadle
    from treadle.sdk.backoff import Backoff
    from treadle.sdk.call import Call
    from treadle.sdk.conditions import Condition, event, sleep
    from treadle.sdk.context import Context
    from treadle.sdk.errors import (
        BulkPushFailed,
        BulkStartFailed,
        ConnectionProblem,
        NonRetryable,
        RetryAfter,
        TaskCancelled,
        TaskFailed,
        TaskSkipped,
    )
    from treadle.sdk.pushing import NewEvent
    from treadle.sdk.run import Run
    from treadle.sdk.steps import WorkflowTask
    from treadle.sdk.task import Task
    from treadle.sdk.worker.worker import Worker
    from treadle.sdk.workflow import Workflow
    from treadle.sdk.workflow_result import TaskOutcome, WorkflowResult
    from treadle.sdk.workflow_run import WorkflowRun

__version__ = "0.1.0"

__all__ = [
    "Backoff",
    "BulkPushFailed",
    "BulkStartFailed",
    "Call",
    "Condition",
    "Conflict",
    "ConnectionProblem",
    "Context",
    "Exhausted",
    "InvalidInput",
    "NewEvent",
    "NonRetryable",
    "NotFound",
    "PermissionDenied",
    "RetryAfter",
    "Run",
    "RunStatus",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "TaskOutcome",
    "TaskSkipped",
    "Treadle",
    "TreadleError",
    "Unavailable",
    "Unsupported",
    "Worker",
    "Workflow",
    "WorkflowResult",
    "WorkflowRun",
    "WorkflowTask",
    "__version__",
    "event",
    "sleep",
]

_HOMES = {
    "Backoff": "treadle.sdk.backoff",
    "BulkPushFailed": "treadle.sdk.errors",
    "BulkStartFailed": "treadle.sdk.errors",
    "Call": "treadle.sdk.call",
    "Condition": "treadle.sdk.conditions",
    "Conflict": "treadle.model.errors",
    "ConnectionProblem": "treadle.sdk.errors",
    "Context": "treadle.sdk.context",
    "Exhausted": "treadle.model.errors",
    "InvalidInput": "treadle.model.errors",
    "NewEvent": "treadle.sdk.pushing",
    "NonRetryable": "treadle.sdk.errors",
    "NotFound": "treadle.model.errors",
    "PermissionDenied": "treadle.model.errors",
    "RetryAfter": "treadle.sdk.errors",
    "Run": "treadle.sdk.run",
    "RunStatus": "treadle.model.states",
    "Task": "treadle.sdk.task",
    "TaskCancelled": "treadle.sdk.errors",
    "TaskFailed": "treadle.sdk.errors",
    "TaskOutcome": "treadle.sdk.workflow_result",
    "TaskSkipped": "treadle.sdk.errors",
    "Treadle": "treadle.sdk.app",
    "TreadleError": "treadle.model.errors",
    "Unavailable": "treadle.model.errors",
    "Unsupported": "treadle.model.errors",
    "Worker": "treadle.sdk.worker.worker",
    "Workflow": "treadle.sdk.workflow",
    "WorkflowResult": "treadle.sdk.workflow_result",
    "WorkflowRun": "treadle.sdk.workflow_run",
    "WorkflowTask": "treadle.sdk.steps",
    "event": "treadle.sdk.conditions",
    "sleep": "treadle.sdk.conditions",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'treadle' has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - loaded late, like everything here

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
