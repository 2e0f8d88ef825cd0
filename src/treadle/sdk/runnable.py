"""What workers run: functions, each under the name of its action."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol

from treadle.sdk.context import Context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from treadle.sdk.codec import OutputCodec


class Arguments(Protocol):
    """Makes the arguments of a function from its stored input."""

    @property
    def task(self) -> str:
        """What errors about the input name as their field."""

    def decode(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, without the context."""


class Runnable(Protocol):
    """A function that workers run: a task, or a task of a workflow."""

    @property
    def name(self) -> str:
        """Its name; within the workflow, if it belongs to one."""

    @property
    def full_name(self) -> str:
        """Its name for people: `task`, or `workflow.task`."""

    @property
    def action(self) -> str:
        """What a worker offers and a delivery names."""

    @property
    def function(self) -> Callable[..., Any]:
        """The code."""

    @property
    def is_async(self) -> bool:
        """Whether it runs on the event loop."""

    @property
    def takes_context(self) -> bool:
        """Whether its first parameter is the context."""

    @property
    def input(self) -> Arguments:
        """Its input."""

    @property
    def output(self) -> OutputCodec:
        """Its return value."""


def action_of(workflow: str, task: str) -> str:
    """`workflow:task` in lower case; a task of its own is a workflow of one task of the same name."""
    return f"{workflow.lower()}:{task.lower()}"


def name_of(action: str) -> str:
    """The full name that an action stands for, for messages."""
    workflow, _, task = action.partition(":")
    return task if workflow == task else f"{workflow}.{task}"


def takes_context(name: str, function: Callable[..., object], hints: Mapping[str, Any]) -> bool:
    """Whether the first parameter is a context.

    Raises:
        TypeError: A later one is.
    """
    for position, parameter in enumerate(inspect.signature(function).parameters):
        if hints.get(parameter) is Context:
            if position > 0:
                raise TypeError(f"task {name}: the context {parameter!r} must be the first parameter")
            return True
    return False
