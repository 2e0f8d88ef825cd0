"""What `dag` and `fanout` run, for the own SDK: workflows of three shapes, and a task that starts others."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from treadle import Context, Treadle, Workflow
from treadle.cli.bench.tasks import NOOP, make_app
from treadle.sdk.steps import WorkflowTask

SPAWN = "bench_spawn"
_PATIENCE = timedelta(hours=1)


@dataclass
class Number:
    """The input of each workflow."""

    i: int


class Shape(NamedTuple):
    """How many tasks a run of a shape has, and how many of them can run at once."""

    tasks: int
    width: int


SHAPES = {"chain": Shape(10, 1), "diamond": Shape(4, 2), "fan": Shape(102, 100)}
"""Ten tasks one after the other; one, two beside each other, one; one, a hundred beside each other, one."""


class Flow(NamedTuple):
    """A workflow, and how to tell that all of its tasks have run: what the last of them returns for an input."""

    workflow: Workflow[Number]
    last: WorkflowTask[Number, int]
    expected: Callable[[int], int]

    async def run_many(self, numbers: range) -> None:
        """Start a run for each number in one request, and await and check all results."""
        results = await self.workflow.run_many(Number(number) for number in numbers)
        for number, result in zip(numbers, results, strict=True):
            found = result.output(self.last)
            if found != self.expected(number):
                raise AssertionError(f"{self.workflow.name} of {number} returned {found}")


class Flows:
    """The workflows and tasks, declared on an app that has the benchmark's usual ones."""

    def __init__(self, app: Treadle) -> None:
        self.by_shape = {"chain": _chain(app), "diamond": _layers(app, "diamond"), "fan": _layers(app, "fan")}
        noop = app.tasks[NOOP]

        @app.task(name=SPAWN, timeout=_PATIENCE, schedule_timeout=_PATIENCE)
        async def bench_spawn(children: int) -> int:
            # Negative: what is measured is how long all of it takes, so the children need not note their starts.
            return sum(await noop.run_many({"i": -number} for number in range(1, children + 1)))

        self._spawn: Callable[..., Awaitable[int]] = bench_spawn.run

    async def spawn(self, children: int) -> None:
        """Let one task start so many and await all their results."""
        found = await self._spawn(children=children)
        if found != -children * (children + 1) // 2:
            raise AssertionError(f"{children} children came to {found}")


def _chain(app: Treadle) -> Flow:
    workflow = app.workflow("bench_chain", input=Number)
    last: WorkflowTask[Number, int] = workflow.task(name="task_1")(_first)
    length = SHAPES["chain"].tasks
    for place in range(2, length + 1):
        last = workflow.task(name=f"task_{place}", parents=[last])(_add_up([last], 1))
    return Flow(workflow, last, lambda number: number + length - 1)


def _layers(app: Treadle, shape: str) -> Flow:
    """One task, a layer of tasks beside each other, and one that follows them all."""
    workflow = app.workflow(f"bench_{shape}", input=Number)
    width = SHAPES[shape].width
    first: WorkflowTask[Number, int] = workflow.task(name="first")(_first)
    layer: list[WorkflowTask[Number, int]] = [
        workflow.task(name=f"beside_{place}", parents=[first])(_add_up([first], 1)) for place in range(1, width + 1)
    ]
    last: WorkflowTask[Number, int] = workflow.task(name="last", parents=layer)(_add_up(layer, 0))
    return Flow(workflow, last, lambda number: width * (number + 1))


async def _first(number: Number) -> int:
    return number.i


def _add_up(parents: list[WorkflowTask[Number, int]], more: int) -> Callable[[Context], Any]:
    """A task that reads what all its parents returned."""

    async def add_up(ctx: Context) -> int:
        return sum(ctx.output(parent) for parent in parents) + more

    return add_up


app = make_app()
flows = Flows(app)
