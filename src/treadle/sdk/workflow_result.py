"""How a run of a workflow ended, task by task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from pydantic_core import from_json

from treadle.model.errors import NotFound
from treadle.model.states import TERMINAL, RunStatus
from treadle.sdk.errors import TaskCancelled, TaskFailed, TaskSkipped
from treadle.sdk.in_workflow import MISSING
from treadle.sdk.run import check_known

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from treadle.sdk.steps import WorkflowTask
    from treadle.wire.gen.treadle.v1 import runs_pb2

R = TypeVar("R")
D = TypeVar("D")


class TaskOutcome:
    """One task of a workflow run.

    Attributes:
        name: The task's name in the workflow.
        id: Id of the task run: it can be cancelled and replayed by it.
        status: Where it is.
        attempt: Number of its last attempt.
        error: Why it failed, or was cancelled, or "".
    """

    __slots__ = ("attempt", "data", "error", "id", "name", "status")

    def __init__(self, name: str, task_id: str, status: RunStatus, attempt: int, error: str, data: bytes) -> None:
        """Made by the SDK."""
        self.name: str = name
        self.id: str = task_id
        self.status: RunStatus = status
        self.attempt: int = attempt
        self.error: str = error
        self.data: bytes = data

    @property
    def output(self) -> Any:
        """What it returned, as plain JSON values; None if there is nothing. `result.output(task)` knows the type."""
        return from_json(self.data) if self.data else None

    def __repr__(self) -> str:
        return f"<{self.name}: {self.status.name}>"


class WorkflowResult:
    """A run of a workflow that has ended.

    Attributes:
        run_id: The run's id.
        workflow: The workflow's name.
        status: How it ended.
        error: Why, if it failed or was cancelled, or "".
        tasks: Its tasks by name, as far as they came to be: an on_failure task that nothing called for did not.
    """

    def __init__(
        self, run_id: str, workflow: str, status: RunStatus, error: str, tasks: Mapping[str, TaskOutcome]
    ) -> None:
        """Made by the SDK."""
        self.run_id: str = run_id
        self.workflow: str = workflow
        self.status: RunStatus = status
        self.error: str = error
        self.tasks: Mapping[str, TaskOutcome] = tasks

    @overload
    def output(self, task: WorkflowTask[Any, R]) -> R: ...
    @overload
    def output(self, task: WorkflowTask[Any, R], default: D) -> R | D: ...
    def output(self, task: WorkflowTask[Any, Any], default: Any = MISSING) -> Any:
        """What a task returned.

        Args:
            task: A task of this workflow.
            default: What to return for a task that was skipped.

        Raises:
            TaskSkipped: It was skipped, and there is no default.
            TaskFailed: It failed.
            TaskCancelled: It was cancelled.
            NotFound: It has not come to be in this run.
        """
        outcome = self._outcome(task)
        if outcome.status is RunStatus.COMPLETED:
            return task.output.decode(outcome.data)
        if outcome.status is RunStatus.SKIPPED:
            if default is not MISSING:
                return default
            raise TaskSkipped(self.run_id, task.full_name)
        if outcome.status is RunStatus.FAILED:
            raise TaskFailed(self.run_id, task.full_name, outcome.error)
        raise TaskCancelled(self.run_id, task.full_name, outcome.error)

    def skipped(self, task: WorkflowTask[Any, Any]) -> bool:
        """Whether a task was skipped.

        Raises:
            NotFound: It has not come to be in this run.
        """
        return self._outcome(task).status is RunStatus.SKIPPED

    def raise_for_status(self) -> None:
        """Return if the run completed.

        Raises:
            TaskFailed: The run failed; it names the task that did.
            TaskCancelled: The run was cancelled.
        """
        if self.status is RunStatus.COMPLETED:
            return
        if self.status is RunStatus.CANCELLED:
            raise TaskCancelled(self.run_id, self.workflow, self.error)
        failed = [task for task in self.tasks.values() if task.status is RunStatus.FAILED]
        # The engine's error is that of the first one.
        culprit = next((task for task in failed if task.error == self.error), failed[0] if failed else None)
        name = self.workflow if culprit is None else f"{self.workflow}.{culprit.name}"
        raise TaskFailed(self.run_id, name, self.error or (culprit.error if culprit is not None else ""))

    def _outcome(self, task: WorkflowTask[Any, Any]) -> TaskOutcome:
        if task.workflow != self.workflow:
            raise ValueError(f"{task.full_name} is no task of workflow {self.workflow}")
        outcome = self.tasks.get(task.name)
        if outcome is None:
            raise NotFound("task", f"{task.full_name} has not come to be in run {self.run_id}")
        return outcome

    def __repr__(self) -> str:
        return f"<WorkflowResult of {self.workflow}, run {self.run_id}: {self.status.name}>"


def outcomes_of(results: Iterable[runs_pb2.TaskResult]) -> dict[str, TaskOutcome]:
    """The tasks of a run by name."""
    return {
        each.name: TaskOutcome(each.name, each.task_id, RunStatus(each.status), each.attempt, each.error, each.output)
        for each in results
    }


def result_of(result: runs_pb2.RunResult, workflow: str, only_task: str | None) -> WorkflowResult:
    """The result of a run, however it ended.

    Args:
        result: What the engine says.
        workflow: The workflow's name.
        only_task: Its task, if it has only one: then the run is that task's, and the engine names none.

    Raises:
        NotFound: The engine does not know the run.
    """
    check_known(result)
    status = RunStatus(result.status)
    # A task that ran before a replay and was not called for again, such as on_failure, has not ended, nor will it.
    tasks = {name: task for name, task in outcomes_of(result.tasks).items() if task.status in TERMINAL}
    if not tasks and only_task is not None:
        tasks[only_task] = TaskOutcome(only_task, result.run_id, status, 0, result.error, result.output)
    return WorkflowResult(result.run_id, workflow, status, result.error, tasks)
