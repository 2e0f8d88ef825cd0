"""Starting runs of a workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from treadle.sdk.launch import Launch
from treadle.sdk.workflow_run import WorkflowRun, read_completed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from treadle.model.errors import TreadleError
    from treadle.sdk.app import Treadle
    from treadle.sdk.call import Call
    from treadle.sdk.whole_input import WholeInput
    from treadle.sdk.workflow_result import WorkflowResult

InT = TypeVar("InT")


class WorkflowHandle(Generic[InT]):
    """Something that runs of a workflow can be started with. `InT` is the workflow's input.

    Attributes:
        name: The workflow's name in the engine.
    """

    def __init__(
        self, app: Treadle, whole: WholeInput, only_task: Callable[[], str | None], check: Callable[[], None]
    ) -> None:
        """Made by `Treadle.workflow`, and by `options` of what that returns."""
        self.name: str = whole.task
        self._whole = whole
        self._app = app
        self._only_task = only_task
        self._check = check
        self._launch: Launch[WorkflowResult, WorkflowRun] = Launch(
            app,
            self.name,
            read=lambda result: read_completed(result, self.name, only_task()),
            handle=lambda run_id, gateway: WorkflowRun(run_id, self.name, only_task, gateway),
        )

    @overload
    def run(self: WorkflowHandle[None]) -> Call[WorkflowResult]: ...
    @overload
    def run(self, value: InT, /) -> Call[WorkflowResult]: ...
    def run(self, value: Any = None, /) -> Call[WorkflowResult]:  # type: ignore[misc] # a value is needed unless the type is None
        """Start a run with this input and wait for its result. Inside a task, the run becomes that task's child.

        Returns:
            A call to `await`, or to `.wait()` for in plain code.

        Raises:
            InvalidInput: The input does not fit its type. Raised at once.
            TaskFailed: The run failed; it names the task that did.
            TaskCancelled: The run was cancelled.
            ConnectionProblem: The engine cannot be reached.
            ValueError: The workflow has no tasks.
        """
        return self._launch.run(self._encode(value))

    @overload
    def start(self: WorkflowHandle[None]) -> Call[WorkflowRun]: ...
    @overload
    def start(self, value: InT, /) -> Call[WorkflowRun]: ...
    def start(self, value: Any = None, /) -> Call[WorkflowRun]:  # type: ignore[misc] # as above
        """Start a run without waiting for its result. It is durable once the call returns.

        Raises:
            InvalidInput: The input does not fit its type. Raised at once.
            NotFound: The engine knows no workflow of this name: no worker has registered it yet.
            ConnectionProblem: The engine cannot be reached.
            ValueError: The workflow has no tasks.
        """
        return self._launch.start(self._encode(value))

    def start_many(self, inputs: Iterable[InT]) -> Call[list[WorkflowRun]]:
        """Start a run for each input.

        They are sent up to 1000 at a time, in order; those sent are durable even when a later request fails.

        Raises:
            BulkStartFailed: The engine refused some; the others are started.
            InvalidInput: An input does not fit its type. Raised at once: then nothing is started.
        """
        return self._launch.start_many(map(self._encode, inputs))

    @overload
    def run_many(self, inputs: Iterable[InT]) -> Call[list[WorkflowResult]]: ...
    @overload
    def run_many(self, inputs: Iterable[InT], *, return_exceptions: Literal[False]) -> Call[list[WorkflowResult]]: ...
    @overload
    def run_many(
        self, inputs: Iterable[InT], *, return_exceptions: Literal[True]
    ) -> Call[list[WorkflowResult | TreadleError]]: ...
    def run_many(
        self, inputs: Iterable[InT], *, return_exceptions: bool = False
    ) -> Call[list[WorkflowResult]] | Call[list[WorkflowResult | TreadleError]]:
        """Start a run for each input and wait for all results, in the order of the inputs.

        Args:
            inputs: One for each run.
            return_exceptions: Put the errors of runs that failed into the list, rather than raising the first.

        Raises:
            TaskFailed: A run failed.
            TaskCancelled: A run was cancelled.
            BulkStartFailed: The engine refused some; the others are started.
        """
        return self._launch.run_many(map(self._encode, inputs), return_exceptions=return_exceptions)

    def options(
        self,
        *,
        priority: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        child_key: str | None = None,
        detached: bool | None = None,
    ) -> WorkflowHandle[InT]:
        """This workflow, with settings for the runs started through the returned handle.

        Args:
            priority: 1 (low) to 3 (high).
            metadata: JSON object kept with the run; filters and the context of its tasks can read it.
            child_key: Names the child among those of its parent, so that a retried parent finds it again even when the
                order of its calls changes. Only inside a task.
            detached: Do not make the run a child of the task it is started in.

        Raises:
            ValueError: The priority is out of range.
            InvalidInput: The metadata cannot be JSON.
        """
        copy: WorkflowHandle[InT] = WorkflowHandle(self._app, self._whole, self._only_task, self._check)
        copy._launch = self._launch.with_options(
            priority=priority, metadata=metadata, child_key=child_key, detached=detached
        )
        return copy

    def attach(self, run_id: str) -> WorkflowRun:
        """A handle on a run of this workflow that was started earlier, or by someone else."""
        return WorkflowRun(run_id, self.name, self._only_task, self._app.gateway)

    def _encode(self, value: Any) -> bytes:
        self._check()
        return self._whole.encode(value)
