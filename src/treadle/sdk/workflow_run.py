"""A handle on a run of a workflow that was started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.model.errors import NotFound
from treadle.model.states import RunStatus
from treadle.sdk.call import Call
from treadle.sdk.run import Run
from treadle.sdk.workflow_result import TaskOutcome, WorkflowResult, outcomes_of, result_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from treadle.sdk.gateway import Gateway
    from treadle.sdk.steps import WorkflowTask
    from treadle.wire.gen.treadle.v1 import runs_pb2


class WorkflowRun(Run[WorkflowResult]):
    """A started run of a workflow. It goes on in the engine whether or not this object is kept.

    Attributes:
        id: The run's id, a UUID of 36 characters.
        task: The workflow's name.
    """

    __slots__ = ("_only_task",)

    def __init__(self, run_id: str, workflow: str, only_task: Callable[[], str | None], gateway: Gateway) -> None:
        """Made by the SDK."""
        super().__init__(run_id, workflow, self._read_completed, gateway)
        self._only_task = only_task

    def _read_completed(self, result: runs_pb2.RunResult) -> WorkflowResult:
        return read_completed(result, self.task, self._only_task())

    def outcome(self) -> Call[WorkflowResult]:
        """Wait until the run has ended, and get its result however it ended: nothing is raised for a failure.

        Raises:
            NotFound: The engine does not know the run.
        """
        results = self._gateway.results
        return Call(
            f"run {self.id}.outcome()",
            lambda reply: results.add(self.id, reply),
            lambda result: result_of(result, self.task, self._only_task()),
            lambda reply: results.discard(self.id, reply),
        )

    def tasks(self) -> Call[Mapping[str, TaskOutcome]]:
        """Ask where the tasks of the run are now: by name, those that have come to be.

        Raises:
            NotFound: The engine does not know the run.
        """
        gateway = self._gateway
        return gateway.call(f"run {self.id}.tasks()", lambda: gateway.get_run(self.id), self._tasks_in)

    def replay(self, task: WorkflowTask[Any, Any] | None = None) -> Call[bool]:
        """Run it again, under its id and with its input.

        A run that failed or was cancelled goes on where it stopped: what completed or was skipped stays as it is, unless
        it comes after something that runs again. A run that completed runs again as a whole.

        Args:
            task: Run this task again and all that come after it, also while others still run. It must have ended.

        Returns:
            False when it has not ended.
        """
        gateway = self._gateway
        if task is None:
            return gateway.call(f"run {self.id}.replay()", lambda: gateway.replay_runs([self.id]), bool)
        name = task.name

        async def replay() -> list[str]:
            tasks = self._tasks_in(await gateway.get_run(self.id))
            if name not in tasks:
                raise NotFound("task", f"{self.task}.{name} has not come to be in run {self.id}")
            return await gateway.replay_runs([tasks[name].id])

        return gateway.call(f"run {self.id}.replay({name})", replay, bool)

    def _tasks_in(self, detail: runs_pb2.RunDetail) -> dict[str, TaskOutcome]:
        tasks = outcomes_of(detail.tasks)
        name, run = self._only_task(), detail.run
        if not tasks and name is not None:
            status = RunStatus(run.status)
            tasks[name] = TaskOutcome(name, self.id, status, run.attempt, detail.error, detail.output)
        return tasks

    def __repr__(self) -> str:
        return f"<WorkflowRun {self.id} of {self.task}>"


def read_completed(result: runs_pb2.RunResult, workflow: str, only_task: str | None) -> WorkflowResult:
    """The result of a run that completed; raises the error that tells how else it ended."""
    read = result_of(result, workflow, only_task)
    read.raise_for_status()
    return read
