"""Starting many runs at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from treadle.model.errors import TreadleError
from treadle.sdk.errors import BulkStartFailed
from treadle.sdk.starts import MAX_RUNS, batch_bytes, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from treadle.sdk.gateway import Gateway
    from treadle.sdk.run import Run
    from treadle.wire.gen.treadle.v1 import runs_pb2

RunT = TypeVar("RunT", bound="Run[Any]")

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


async def start_all(
    gateway: Gateway, runs: list[runs_pb2.NewRun], started: Callable[[list[str]], None] | None = None
) -> list[str | TreadleError]:
    """Start runs, each ending in its id or in the engine's refusal; on the I/O thread.

    Args:
        gateway: The way to the engine.
        runs: What to start.
        started: Told of ids while others are still to come.
    """
    starts = gateway.child_starts if runs and runs[0].parent_task_id else gateway.starts
    outcomes: list[str | TreadleError] = []
    under_way: list[asyncio.Task[list[str | TreadleError]]] = []

    async def first_answer() -> None:
        answered = await under_way.pop(0)
        outcomes.extend(answered)
        if started is not None:
            started([outcome for outcome in answered if isinstance(outcome, str)])

    try:
        for chunk in chunks(runs, gateway.connection.max_message_bytes):
            if len(under_way) == _AHEAD:
                await first_answer()
            under_way.append(asyncio.ensure_future(starts.start(chunk)))
        while under_way:
            await first_answer()
    finally:
        for request in under_way:
            request.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
    return outcomes


def handles_of(outcomes: list[str | TreadleError], handle: Callable[[str], RunT]) -> list[RunT]:
    """Handles on the runs.

    Raises:
        BulkStartFailed: Some were refused.
    """
    made = [handle(outcome) if isinstance(outcome, str) else None for outcome in outcomes]
    problems = {at: outcome for at, outcome in enumerate(outcomes) if isinstance(outcome, TreadleError)}
    if problems:
        raise BulkStartFailed(made, problems)
    return [run for run in made if run is not None]
