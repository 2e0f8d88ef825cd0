"""What a running task can know of the workflow run that it is part of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar, overload

from treadle.model.states import SKIPPED_OUTPUT
from treadle.sdk.errors import TaskFailed, TaskSkipped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treadle.sdk.conditions import Atom, EventCondition, SleepCondition
    from treadle.sdk.steps import WorkflowTask
    from treadle.wire.gen.treadle.v1 import worker_pb2

R = TypeVar("R")
D = TypeVar("D")
T = TypeVar("T")

MISSING: Any = object()
"""Stands for a default that was not given, as None may be one."""


class InWorkflow:
    """The part of a task's context that is about its workflow."""

    __slots__ = ("_delivery", "_keys", "_triggers", "task", "task_id", "workflow")

    def __init__(
        self, task: str, delivery: worker_pb2.Delivery, workflow: str, keys: Mapping[Atom, str] | None
    ) -> None:
        """Made as part of a context.

        Args:
            task: The task's name.
            delivery: What the engine said.
            workflow: The workflow's name, or "".
            keys: The names by which the delivery tells what met the conditions of the task.
        """
        self.task: str = task
        self.task_id: str = delivery.task_id
        self.workflow: str = workflow
        self._delivery = delivery
        self._keys: Mapping[Atom, str] = keys or {}
        self._triggers: dict[str, Any] | None = None

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return self._delivery.run_id or self.task_id

    @overload
    def output(self, task: WorkflowTask[Any, R]) -> R: ...
    @overload
    def output(self, task: WorkflowTask[Any, R], default: D) -> R | D: ...
    def output(self, task: WorkflowTask[Any, Any], default: Any = MISSING) -> Any:
        """What a parent of this task returned.

        Args:
            task: The parent.
            default: What to return if it was skipped.

        Raises:
            TaskSkipped: It was skipped, and there is no default.
            LookupError: It is no parent of this task.
        """
        data = self._parent(task)
        if data != SKIPPED_OUTPUT:
            return task.output.decode(data)
        if default is not MISSING:
            return default
        raise TaskSkipped(self.run_id, task.full_name)

    def skipped(self, task: WorkflowTask[Any, Any]) -> bool:
        """Whether a parent of this task was skipped.

        Raises:
            LookupError: It is no parent of this task.
        """
        return self._parent(task) == SKIPPED_OUTPUT

    def _parent(self, task: WorkflowTask[Any, Any]) -> bytes:
        parents = self._delivery.parents
        if task.name not in parents or task.workflow != (self.workflow or task.workflow):
            names = ", ".join(sorted(parents)) or "none"
            raise LookupError(
                f"{self.task} asks for the output of {task.full_name}, which is not among its parents ({names}): add it "
                "to parents=[...]"
            )
        return parents[task.name]

    @property
    def triggers(self) -> dict[str, Any]:
        """What met the conditions of this task: payloads of events by key, `{}` for a sleep by `sleep:10s`."""
        if self._triggers is None:
            text = self._delivery.triggers
            self._triggers = json.loads(text) if text else {}
        return self._triggers

    def event(self, condition: EventCondition[T]) -> T | None:
        """The payload of the event that met a condition of this task; None if none did.

        Raises:
            LookupError: It is no condition of this task.
            InvalidInput: The payload is not of the type that the condition names.
        """
        key = self._key(condition)
        return condition.codec.decode(json.dumps(self.triggers[key]).encode()) if key in self.triggers else None

    def met(self, condition: EventCondition[Any] | SleepCondition) -> bool:
        """Whether this condition of the task was met: which of several alternatives it was.

        Raises:
            LookupError: It is no condition of this task.
        """
        return self._key(condition) in self.triggers

    def _key(self, condition: EventCondition[Any] | SleepCondition) -> str:
        key = self._keys.get(condition)
        if key is None:
            raise LookupError(f"{self.task} asks about {condition!r}, which is not among its conditions")
        return key

    @property
    def errors(self) -> dict[str, TaskFailed]:
        """In an on_failure task: the tasks that have failed so far, by name, and why."""
        prefix = f"{self.workflow}." if self.workflow else ""
        return {name: TaskFailed(self.run_id, f"{prefix}{name}", text) for name, text in self._delivery.errors.items()}
