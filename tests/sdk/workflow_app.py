"""An app with workflows for workers of several processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from treadle import Context, Treadle, event

app = Treadle()


@dataclass
class Job:
    number: int
    fail: bool = False


spread = app.workflow("spread", input=Job)
go = event("go", payload=Job)


def _part(job: Job) -> list[int]:
    return [job.number, os.getpid(), os.getppid()]


parts = [spread.task(name=f"part-{number}")(_part) for number in range(6)]


@spread.task(parents=parts, wait_for=go)
async def gather(ctx: Context, job: Job) -> dict[str, Any]:
    """What all parts say, and what came with the event."""
    if job.fail:
        raise ValueError(f"job {job.number}")
    found = [ctx.output(part) for part in parts]
    went = ctx.event(go)
    return {"numbers": [each[0] for each in found], "pids": [each[1] for each in found], "went": went and went.number}


@spread.on_failure
def failed(ctx: Context) -> dict[str, str]:
    """The errors as they are."""
    return {name: error.error_message for name, error in ctx.errors.items()}
