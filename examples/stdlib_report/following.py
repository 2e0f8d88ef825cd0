"""Follow a run's children while they work: the engine is asked, so this is what it knows."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from stdlib_report.app import app
from treadle import Run, RunStatus
from treadle.wire.gen.treadle.v1 import runs_pb2

T = TypeVar("T")

ASK_EVERY_SECONDS = 0.2
MOST_CHILDREN = 1000
ENDED = {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED}


async def follow(run: Run[T], console: Console, check: Callable[[], None]) -> T:
    """Show a progress bar until the run has ended; its result. `check` is called now and then, and may raise."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    result = asyncio.ensure_future(run.result())
    retried: set[str] = set()
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("measuring packages", total=None)
        ended = False
        while not ended:
            ended = bool((await asyncio.wait({result}, timeout=ASK_EVERY_SECONDS))[0])
            check()
            children = await children_of(run)
            done = sum(RunStatus(child.status) in ENDED for child in children)
            progress.update(bar, total=len(children) or None, completed=done)
            for child in children:
                if child.retries_used and child.id not in retried:
                    retried.add(child.id)
                    progress.console.print(await _tell_of_retry(child), soft_wrap=True)
    return await result


async def children_of(run: Run[T]) -> list[runs_pb2.RunSummary]:
    """The runs that a run has started."""
    request = runs_pb2.ListRunsRequest(parent_id=run.id, limit=MOST_CHILDREN)
    gateway = app.gateway
    answer: runs_pb2.ListRunsResponse = await gateway.call(
        "the list of children",
        lambda: gateway.unary("/treadle.v1.Runs/List", request, repeatable=True),
        lambda found: found,
    )
    return list(answer.runs)


async def _tell_of_retry(child: runs_pb2.RunSummary) -> str:
    gateway = app.gateway
    detail = await gateway.call("the run", lambda: gateway.get_run(child.id), lambda found: found)
    reason = next((event.detail for event in detail.events if event.kind == "RETRYING"), "")
    first_line = reason.partition("\n")[0]
    return f"[yellow]retry[/]  {child.task} {child.id} failed once and was tried again: {escape(first_line)}"
