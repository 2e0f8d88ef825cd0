"""The task that the chaos tests run, and its worker process: `treadle worker tests.chaos.worker_app:app`."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.effects import EffectLog, Mark
from tests.chaos.plan import EFFECTS_FOLDER_VARIABLE, TASK, expected_value, planned_failures
from treadle import Context, Treadle

app = Treadle()
_log = EffectLog(Path(os.environ[EFFECTS_FOLDER_VARIABLE]))


@dataclass(frozen=True, slots=True)
class Effect:
    """A run's output. The nonce leads back to the execution that made it."""

    value: int
    nonce: str


@app.task(name=TASK, retries=1)
async def step(ctx: Context, number: int) -> Effect:
    """Leave a trace, and return something that can be checked."""
    nonce = secrets.token_hex(8)
    _log.write(Mark.START, ctx.run_id, ctx.attempt, nonce)
    if ctx.retry_count < planned_failures(number):
        raise ValueError(f"planned failure of {number}")
    _log.write(Mark.EFFECT, ctx.run_id, ctx.attempt, nonce)
    return Effect(value=expected_value(number), nonce=nonce)
