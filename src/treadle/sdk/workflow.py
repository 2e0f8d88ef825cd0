"""A workflow: tasks that follow one another, declared on it, started as one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from treadle.model.errors import InvalidInput
from treadle.model.names import check_name
from treadle.sdk.options import TaskOptions
from treadle.sdk.steps import Role, StepConditions, WorkflowFunction, WorkflowTask
from treadle.sdk.workflow_handle import WorkflowHandle

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from datetime import timedelta

    from treadle.sdk.app import Treadle
    from treadle.sdk.backoff import Backoff
    from treadle.sdk.conditions import Condition
    from treadle.sdk.declaring import StepDecorator, StepFunction
    from treadle.sdk.whole_input import WholeInput

InT = TypeVar("InT")
R = TypeVar("R")


class Workflow(WorkflowHandle[InT]):
    """Tasks that follow one another. Made by `Treadle.workflow`; `InT` is its input, which every task can take.

    A task names its parents, objects that exist already: so tasks cannot wait for each other in a circle.
    """

    def __init__(self, app: Treadle, whole: WholeInput, *, description: str, priority: int | None) -> None:
        """Made by `Treadle.workflow`."""
        super().__init__(app, whole, self._find_only_task, self.check)
        self.description: str = description
        self.priority: int | None = priority
        self._whole = whole
        self._tasks: dict[str, WorkflowFunction[InT, Any, Any]] = {}

    @property
    def tasks(self) -> Mapping[str, WorkflowFunction[InT, Any, Any]]:
        """The tasks declared on it, by lower-cased name, on_failure and on_success among them."""
        return self._tasks

    @property
    def input(self) -> WholeInput:
        """Its input."""
        return self._whole

    # -- declaring -----------------------------------------------------------------------------------------------------

    @overload
    def task(
        self, function: StepFunction[InT, Coroutine[Any, Any, R]], /
    ) -> WorkflowFunction[InT, R, Coroutine[Any, Any, R]]: ...
    @overload
    def task(self, function: StepFunction[InT, R], /) -> WorkflowFunction[InT, R, R]: ...
    @overload
    def task(
        self,
        *,
        name: str | None = None,
        parents: Sequence[WorkflowTask[InT, Any]] = (),
        wait_for: Condition | None = None,
        skip_if: Condition | None = None,
        cancel_if: Condition | None = None,
        retries: int = 0,
        backoff: Backoff | None = None,
        timeout: timedelta | None = None,
        schedule_timeout: timedelta | None = None,
        slots: int = 1,
    ) -> StepDecorator[InT]: ...
    def task(  # type: ignore[misc] # mypy takes the decorator's own type variables for a mismatch
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        parents: Sequence[WorkflowTask[InT, Any]] = (),
        wait_for: Condition | None = None,
        skip_if: Condition | None = None,
        cancel_if: Condition | None = None,
        retries: int = 0,
        backoff: Backoff | None = None,
        timeout: timedelta | None = None,
        schedule_timeout: timedelta | None = None,
        slots: int = 1,
    ) -> Any:
        """Make a task of the workflow of a function: `@wf.task` or `@wf.task(parents=[first], ...)`.

        The function takes the workflow's input, a `Context` before it, only one of them, or neither. What other tasks
        returned comes from `ctx.output(task)`.

        Args:
            function: The function, when the decorator is used without arguments.
            name: Name in the workflow; the function's name unless given.
            parents: Tasks that must have ended before this one starts. When one of them fails or is cancelled, this one
                is cancelled; when all of them are skipped, so is this one.
            wait_for: Must hold as well before it is queued.
            skip_if: Skips it when this holds. With a test of an output in it, skipped parents do not skip this task.
            cancel_if: Cancels it, and with it the run, when this holds.
            retries: How often to try again after a failure.
            backoff: Wait between tries; None: none.
            timeout: Longest time of one attempt; None: the engine's default (60 s).
            schedule_timeout: Longest time in the queue; None: the engine's default (5 minutes).
            slots: How many of the worker's slots one attempt takes.

        Raises:
            TypeError: The function's parameters are others, or its return value cannot travel as JSON.
            ValueError: A setting is out of range, or a parent is no task of this workflow.
            InvalidInput: The name has characters other than letters, digits, '.', '-', '_', or is taken.
        """
        options = TaskOptions(retries, backoff, timeout, schedule_timeout, slots=slots)

        def decorate(target: Callable[..., Any]) -> WorkflowFunction[InT, Any, Any]:
            full_name = f"{self.name}.{name or target.__name__}"
            conditions = StepConditions(f"task {full_name}", wait_for, skip_if, cancel_if)
            own = tuple(dict.fromkeys(self._own(parent, full_name) for parent in (*parents, *conditions.parents())))
            return self._declare(target, name, options, "task", own, conditions)

        return decorate if function is None else decorate(function)

    @overload
    def on_failure(
        self, function: StepFunction[InT, Coroutine[Any, Any, R]], /
    ) -> WorkflowFunction[InT, R, Coroutine[Any, Any, R]]: ...
    @overload
    def on_failure(self, function: StepFunction[InT, R], /) -> WorkflowFunction[InT, R, R]: ...
    @overload
    def on_failure(
        self,
        *,
        name: str | None = None,
        retries: int = 0,
        backoff: Backoff | None = None,
        timeout: timedelta | None = None,
        schedule_timeout: timedelta | None = None,
        slots: int = 1,
    ) -> StepDecorator[InT]: ...
    def on_failure(  # type: ignore[misc] # as above
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        retries: int = 0,
        backoff: Backoff | None = None,
        timeout: timedelta | None = None,
        schedule_timeout: timedelta | None = None,
        slots: int = 1,
    ) -> Any:
        """Make a function the task that runs as soon as any task of a run has failed, all its retries included.

        It does not wait for the others, is not called for by a cancellation, and does not mend the run, which ends
        failed. `ctx.errors` says what has failed by then. One of them at most; settings as for `task`.
        """
        options = TaskOptions(retries, backoff, timeout, schedule_timeout, slots=slots)

        def decorate(target: Callable[..., Any]) -> WorkflowFunction[InT, Any, Any]:
            return self._declare(target, name, options, "on_failure")

        return decorate if function is None else decorate(function)

    @overload
    def on_success(
        self, function: StepFunction[InT, Coroutine[Any, Any, R]], /
    ) -> WorkflowFunction[InT, R, Coroutine[Any, Any, R]]: ...
    @overload
    def on_success(self, function: StepFunction[InT, R], /) -> WorkflowFunction[InT, R, R]: ...
    @overload
    def on_success(
        self,
        *,
        name: str | None = None,
        retries: int = 0,
        backoff: Backoff | None = None,
        timeout: timedelta | None = None,
        schedule_timeout: timedelta | None = None,
        slots: int = 1,
    ) -> StepDecorator[InT]: ...
    def on_success(  # type: ignore[misc] # as above
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        retries: int = 0,
        backoff: Backoff | None = None,
        timeout: timedelta | None = None,
        schedule_timeout: timedelta | None = None,
        slots: int = 1,
    ) -> Any:
        """Make a function the task that runs last, after all others have completed or were skipped.

        It is an ordinary task whose parents are all tasks that no other task follows, also those declared after it; if
        all of them were skipped, it is too. One of them at most; settings as for `task`.
        """
        options = TaskOptions(retries, backoff, timeout, schedule_timeout, slots=slots)

        def decorate(target: Callable[..., Any]) -> WorkflowFunction[InT, Any, Any]:
            return self._declare(target, name, options, "on_success")

        return decorate if function is None else decorate(function)

    def _declare(
        self,
        target: Callable[..., Any],
        name: str | None,
        options: TaskOptions,
        role: Role,
        parents: tuple[WorkflowTask[InT, Any], ...] = (),
        conditions: StepConditions | None = None,
    ) -> WorkflowFunction[InT, Any, Any]:
        task_name = check_name(name or target.__name__, f"task name in workflow {self.name}")
        full_name = f"{self.name}.{task_name}"
        options.check(full_name)
        taken = self._tasks.get(task_name.lower())
        if taken is not None:
            raise InvalidInput("task name", f"{task_name!r} is taken by another task of workflow {self.name}")
        other = self.with_role(role)
        if role != "task" and other is not None:
            raise ValueError(
                f"workflow {self.name} has an {role} task already: {other.name}; {task_name} would be another"
            )
        conditions = conditions or StepConditions(full_name, None, None, None)
        made: WorkflowFunction[InT, Any, Any] = WorkflowFunction(
            self.name, task_name, target, self._whole, options, role=role, parents=parents, conditions=conditions
        )
        self._tasks[task_name.lower()] = made
        return made

    def _own(self, parent: object, child: str) -> WorkflowTask[InT, Any]:
        """The parent, if it can be one."""
        if not isinstance(parent, WorkflowTask):
            raise TypeError(
                f"task {child}: {parent!r} cannot be a parent: name tasks of workflow {self.name}, the objects"
            )
        found = self._tasks.get(parent.name.lower())
        if found is None or found is not parent:
            raise ValueError(f"task {child}: its parent {parent.full_name} is no task of this workflow {self.name}")
        if found.role != "task":
            raise ValueError(f"task {child}: {parent.full_name} is the {found.role} task, which nothing can follow")
        return found

    # -- what workers and the registration ask ---------------------------------------------------------------------------

    def with_role(self, role: Role) -> WorkflowFunction[InT, Any, Any] | None:
        """The first task of that role, if there is one."""
        return next((task for task in self._tasks.values() if task.role == role), None)

    def ordered(self) -> list[WorkflowFunction[InT, Any, Any]]:
        """All tasks but on_failure, in the order of their declaration, on_success last."""
        last = self.with_role("on_success")
        tasks = [task for task in self._tasks.values() if task.role == "task"]
        return tasks if last is None else [*tasks, last]

    def parents_of(self, task: WorkflowFunction[InT, Any, Any]) -> tuple[WorkflowTask[InT, Any], ...]:
        """The tasks that a task follows."""
        if task.role != "on_success":
            return task.own_parents
        tasks = [each for each in self._tasks.values() if each.role == "task"]
        followed = {parent for each in tasks for parent in each.own_parents}
        return tuple(each for each in tasks if each not in followed)

    def check(self) -> None:
        """Raises ValueError when there is nothing to run."""
        if self.with_role("task") is None:
            raise ValueError(
                f"workflow {self.name} has no tasks: declare some with @workflow.task, or use app.remote({self.name!r}) "
                "if they live elsewhere"
            )

    def _find_only_task(self) -> str | None:
        """The name of its only task, if that has no conditions: then the engine makes a run of that task alone."""
        tasks = list(self._tasks.values())
        if len(tasks) != 1 or tasks[0].conditions.any:
            return None
        return tasks[0].name

    def __repr__(self) -> str:
        return f"<Workflow {self.name} of {len(self._tasks)} tasks>"
