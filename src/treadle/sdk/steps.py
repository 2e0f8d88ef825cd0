"""A task of a workflow, and what it waits for."""

from __future__ import annotations

import functools
import inspect
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, overload

from treadle.sdk.codec import OutputCodec, resolve_hints, type_name
from treadle.sdk.conditions import (
    Atom,
    Condition,
    Group,
    OutputCondition,
    check_expression,
    data_keys,
    groups_of,
)
from treadle.sdk.runnable import action_of, takes_context
from treadle.sdk.whole_input import StepInput, WholeInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from treadle.sdk.context import Context
    from treadle.sdk.options import TaskOptions

InT = TypeVar("InT")
R_co = TypeVar("R_co", covariant=True)
C_co = TypeVar("C_co", covariant=True)

Role: TypeAlias = Literal["task", "on_failure", "on_success"]


class WorkflowTask(Generic[InT, R_co]):
    """A task of a workflow: what `ctx.output`, `result.output` and `parents` take. `R_co` is what it returns.

    Attributes:
        name: Its name in the workflow.
        workflow: The workflow's name.
        full_name: Both, with a dot between.
    """

    def __init__(self, workflow: str, name: str, output: OutputCodec) -> None:
        """Made by `Workflow.task`."""
        self.name: str = name
        self.workflow: str = workflow
        self.full_name: str = f"{workflow}.{name}"
        self.output: OutputCodec = output

    def when(self, expression: str) -> Condition:
        """A condition on what this task returned, for a task after it. That makes this one a parent of it.

        Args:
            expression: CEL over the return value, called `output`: `output.total == 0`. One that fails, for instance
                because a field is missing, is false. A skipped task's output is `{"skipped": true}`.
        """
        return OutputCondition(self, check_expression(expression, f"{self.full_name}.when(...)"))

    def __repr__(self) -> str:
        return f"<WorkflowTask {self.full_name}>"


class StepConditions:
    """The conditions of a task, as groups of alternatives.

    Attributes:
        wait_for: All of these groups must hold before the task is queued.
        skip_if: It is skipped once all of these hold, if there are any.
        cancel_if: It is cancelled once all of these hold, if there are any.
        keys: For each sleep and event the name under which a run tells what met it.
    """

    def __init__(
        self, where: str, wait_for: Condition | None, skip_if: Condition | None, cancel_if: Condition | None
    ) -> None:
        """Read them.

        Raises:
            ValueError: One of them comes to too many groups.
            TypeError: One of them is no condition.
        """
        self.wait_for: list[Group] = [] if wait_for is None else groups_of(wait_for, f"{where}: wait_for")
        self.skip_if: list[Group] = [] if skip_if is None else groups_of(skip_if, f"{where}: skip_if")
        self.cancel_if: list[Group] = [] if cancel_if is None else groups_of(cancel_if, f"{where}: cancel_if")
        self.keys: Mapping[Atom, str] = data_keys(self._groups())

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return bool(self._groups())

    def parents(self) -> list[WorkflowTask[Any, Any]]:
        """The tasks whose outputs they test."""
        atoms = chain.from_iterable(self._groups())
        return list(dict.fromkeys(atom.task for atom in atoms if isinstance(atom, OutputCondition)))

    def _groups(self) -> list[Group]:
        return [*self.wait_for, *self.skip_if, *self.cancel_if]


class WorkflowFunction(WorkflowTask[InT, R_co], Generic[InT, R_co, C_co]):
    """A task of a workflow whose code is here. Calling it is calling the plain function: unit tests need no engine."""

    def __init__(
        self,
        workflow: str,
        name: str,
        function: Callable[..., C_co],
        whole: WholeInput,
        options: TaskOptions,
        *,
        role: Role,
        parents: tuple[WorkflowTask[InT, Any], ...],
        conditions: StepConditions,
    ) -> None:
        """Made by `Workflow.task`, `on_failure` and `on_success`.

        Raises:
            TypeError: The function's parameters are not those that a workflow calls it with, or its return value cannot
                travel as JSON.
        """
        full_name = f"{workflow}.{name}"
        hints = resolve_hints(function)
        super().__init__(workflow, name, OutputCodec(full_name, hints.get("return", Any)))
        self.role: Role = role
        self.own_parents: tuple[WorkflowTask[InT, Any], ...] = parents
        """Those it was declared with; of an on_success task, which follows all that nothing else follows, none."""
        self.conditions = conditions
        self.task_options = options
        self.action: str = action_of(workflow, name)
        self.is_async: bool = inspect.iscoroutinefunction(inspect.unwrap(function))
        self.takes_context: bool = takes_context(full_name, function, hints)
        self.input: StepInput = StepInput(
            whole, wanted=_takes_input(full_name, function, hints, whole, self.takes_context)
        )
        self.function = function
        functools.update_wrapper(self, function)

    @overload
    def __call__(self, /) -> C_co: ...
    @overload
    def __call__(self, ctx: Context, /) -> C_co: ...
    @overload
    def __call__(self, value: InT, /) -> C_co: ...
    @overload
    def __call__(self, ctx: Context, value: InT, /) -> C_co: ...
    def __call__(self, *args: Any) -> C_co:
        """The function itself."""
        return self.function(*args)


def _takes_input(
    name: str, function: Callable[..., object], hints: Mapping[str, Any], whole: WholeInput, after_context: bool
) -> bool:
    """Whether the function takes the workflow's input."""
    parameters = list(inspect.signature(function).parameters.values())[1 if after_context else 0 :]
    places = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    taken = None if whole.annotation is None or not places else places[0]
    needed = [each for each in parameters if each is not taken and _is_needed(each)]
    if needed and whole.annotation is None:
        raise TypeError(
            f"task {name} takes {needed[0].name}, but its workflow has no input: declare the workflow with input=..."
        )
    if needed:
        raise TypeError(
            f"task {name} takes {', '.join(each.name for each in needed)} besides its input: a task of a workflow takes "
            "a context, if it wants one, and the workflow's input; what other tasks returned comes from ctx.output(task)"
        )
    if taken is not None and not _may_take(hints.get(taken.name, Any), whole.annotation):
        raise TypeError(
            f"task {name} takes {taken.name} as {type_name(hints[taken.name])}, but the input of its workflow is "
            f"{type_name(whole.annotation)}"
        )
    return taken is not None


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    )


def _may_take(declared: Any, given: Any) -> bool:
    """False only where it is plain that a parameter cannot take the input; type checkers know the rest."""
    if declared == given or not (inspect.isclass(declared) and inspect.isclass(given)):
        return True
    try:
        return issubclass(given, declared)
    except TypeError:  # a protocol, a TypedDict
        return True
