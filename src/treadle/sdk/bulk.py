"""Starting many runs at once, and waiting for all of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from treadle.model.errors import TreadleError
from treadle.sdk.errors import BulkStartFailed
from treadle.sdk.run import Run
from treadle.sdk.starts import MAX_RUNS, batch_bytes, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from treadle.sdk.call import Call
    from treadle.sdk.gateway import Gateway
    from treadle.sdk.task import Task
    from treadle.wire.gen.treadle.v1 import runs_pb2

R = TypeVar("R")

_AHEAD = 2
"""Requests under way at once: the next is on its way while the engine commits one."""


def chunks(runs: list[runs_pb2.NewRun], max_message_bytes: int) -> Iterator[list[runs_pb2.NewRun]]:
    """Cut into requests: at most 1000 runs each, and below the message limit."""
    limit = batch_bytes(max_message_bytes)
    chunk: list[runs_pb2.NewRun] = []
    total = 0
    for run in runs:
        size = size_of(run)
        if chunk and (len(chunk) == MAX_RUNS or total + size > limit):
            yield chunk
            chunk, total = [], 0
        chunk.append(run)
        total += size
    if chunk:
        yield chunk


def start_many(
    task: Task[..., R],
    inputs: Iterable[Mapping[str, Any]],
    gateway: Gateway,
    *,
    wait: Callable[[list[runs_pb2.RunResult]], list[Any]] | None = None,
) -> Call[list[Any]]:
    """A call that starts a run per input; with `wait`, it awaits the results and makes the value of them."""
    runs = task._prepare(inputs)  # noqa: SLF001 - classes of one family
    starts = gateway.child_starts if runs and runs[0].parent_task_id else gateway.starts

    async def start_all() -> list[str | TreadleError]:
        outcomes: list[str | TreadleError] = []
        under_way: list[asyncio.Task[list[str | TreadleError]]] = []
        try:
            for chunk in chunks(runs, gateway.connection.max_message_bytes):
                if len(under_way) == _AHEAD:
                    outcomes += await under_way.pop(0)
                under_way.append(asyncio.ensure_future(starts.start(chunk)))
            for request in under_way:
                outcomes += await request
        finally:
            for request in under_way:
                request.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        return outcomes

    async def start_and_wait() -> list[runs_pb2.RunResult]:
        outcomes = await start_all()
        run_ids = [outcome for outcome in outcomes if isinstance(outcome, str)]
        if len(run_ids) != len(outcomes):
            _handles(task, gateway, outcomes)  # raises
        return await gateway.results.wait_for(run_ids)

    if wait is None:
        return gateway.call(
            f"{task.name}.start_many(...)", start_all, lambda outcomes: _handles(task, gateway, outcomes)
        )
    return gateway.call(f"{task.name}.run_many(...)", start_and_wait, wait)


def _handles(task: Task[..., R], gateway: Gateway, outcomes: list[str | TreadleError]) -> list[Run[R]]:
    name, output = task.name, task._output  # noqa: SLF001 - classes of one family
    made: list[Run[R] | None] = [
        Run(outcome, name, output, gateway) if isinstance(outcome, str) else None for outcome in outcomes
    ]
    problems = {at: outcome for at, outcome in enumerate(outcomes) if isinstance(outcome, TreadleError)}
    if problems:
        raise BulkStartFailed(made, problems)
    return [run for run in made if run is not None]
