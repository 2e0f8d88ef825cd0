"""The decorators of a workflow, as type checkers see them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, overload

from treadle.sdk.context import Context

if TYPE_CHECKING:
    from treadle.sdk.steps import WorkflowFunction

InT = TypeVar("InT")
R = TypeVar("R")

StepFunction: TypeAlias = Callable[[Context, InT], R] | Callable[[InT], R] | Callable[[Context], R] | Callable[[], R]
"""A function that can become a task of a workflow with input `InT`: it takes that, a context, both, or nothing."""


class StepDecorator(Protocol[InT]):
    """What `workflow.task(...)` returns: takes the function."""

    @overload
    def __call__(
        self, function: StepFunction[InT, Coroutine[Any, Any, R]], /
    ) -> WorkflowFunction[InT, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: StepFunction[InT, R], /) -> WorkflowFunction[InT, R, R]: ...
