"""The workflow that the chaos tests run, and its worker process: `treadle worker tests.chaos.flow_app:app`."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.effects import EffectLog, Mark
from tests.chaos.flow_plan import (
    FLOW,
    GO,
    HURRY,
    LONGER_SECONDS,
    LONGEST_SECONDS,
    NAP_SECONDS,
    NO,
    YES,
    begin_fails,
    join_fails,
)
from tests.chaos.plan import EFFECTS_FOLDER_VARIABLE
from treadle import Context, Treadle, event, sleep

app = Treadle()
_log = EffectLog(Path(os.environ[EFFECTS_FOLDER_VARIABLE]))


@dataclass(frozen=True, slots=True)
class Job:
    """The input of a run."""

    number: int


@dataclass(frozen=True, slots=True)
class Made:
    """What a task returns. The nonce leads back to the execution that made it."""

    value: int
    nonce: str


flow = app.workflow(FLOW, input=Job)
# Events are meant for one run each.
_MINE = "${string(int(input.number))}"
go, yes, no, hurry = (event(key, scope=_MINE, payload=Job) for key in (GO, YES, NO, HURRY))


def _start(ctx: Context) -> str:
    """Leave a trace of the beginning; the name of this execution."""
    nonce = secrets.token_hex(8)
    _log.write(Mark.START, ctx.task_id, ctx.attempt, nonce)
    return nonce


def _make(ctx: Context, value: int, nonce: str) -> Made:
    """Leave a trace of the effect."""
    _log.write(Mark.EFFECT, ctx.task_id, ctx.attempt, nonce)
    return Made(value, nonce)


@flow.task(retries=1)
async def begin(ctx: Context, job: Job) -> Made:
    """What all others follow."""
    nonce = _start(ctx)
    if ctx.retry_count < begin_fails(job.number):
        raise ValueError(f"planned failure of {job.number}")
    return _make(ctx, job.number, nonce)


@flow.task(parents=[begin], wait_for=sleep(seconds=NAP_SECONDS))
async def nap(ctx: Context) -> Made:
    """A sleep alone."""
    return _make(ctx, ctx.output(begin).value + 1, _start(ctx))


@flow.task(parents=[begin], wait_for=go)
async def listen(ctx: Context) -> Made:
    """An event alone; it is the run's own."""
    nonce = _start(ctx)
    came = ctx.event(go)
    return _make(ctx, -1 if came is None else came.number, nonce)


@flow.task(parents=[begin], wait_for=go & sleep(seconds=LONGER_SECONDS))
async def both(ctx: Context) -> Made:
    """An event and a sleep: whichever comes first has to be remembered."""
    nonce = _start(ctx)
    came = ctx.event(go)
    return _make(ctx, -1 if came is None else came.number, nonce)


@flow.task(parents=[nap], skip_if=nap.when("int(output.value) % 2 == 0"))
async def odd(ctx: Context) -> Made:
    """Skipped by what its parent returned."""
    return _make(ctx, ctx.output(nap).value + 1, _start(ctx))


@flow.task(parents=[odd])
async def after_odd(ctx: Context) -> Made:
    """Skipped with its parent."""
    return _make(ctx, ctx.output(odd).value + 1, _start(ctx))


@flow.task(parents=[begin], wait_for=yes, skip_if=no)
async def choice(ctx: Context, job: Job) -> Made:
    """Started by one event, or skipped by another."""
    return _make(ctx, job.number, _start(ctx))


@flow.task(parents=[begin], wait_for=hurry | sleep(seconds=LONGEST_SECONDS))
async def either(ctx: Context, job: Job) -> Made:
    """An event or a sleep, whichever comes first."""
    return _make(ctx, job.number, _start(ctx))


@flow.task(parents=[listen, both, after_odd, choice])
async def join(ctx: Context) -> Made:
    """What all branches come to."""
    nonce = _start(ctx)
    number = ctx.output(listen).value
    if join_fails(number):
        raise ValueError(f"planned failure of {number}")
    more = [ctx.output(task, default=None) for task in (after_odd, choice)]
    return _make(ctx, number + sum(made.value for made in more if made is not None), nonce)


@flow.task(parents=[either], cancel_if=either.when("int(output.value) % 17 == 6"))
async def stop(ctx: Context, job: Job) -> Made:
    """Cancelled by what its parent returned."""
    return _make(ctx, job.number, _start(ctx))


@flow.on_failure
async def rescue(ctx: Context, job: Job) -> Made:
    """Called by a failure, which it is told of."""
    nonce = _start(ctx)
    told = {name: error.error_message for name, error in ctx.errors.items()}
    known = [{name: f"planned failure of {job.number}"} for name in ("begin", "join")]
    return _make(ctx, job.number if told in known else -1, nonce)


@flow.on_success
async def finish(ctx: Context, job: Job) -> Made:
    """The last one."""
    return _make(ctx, job.number, _start(ctx))
