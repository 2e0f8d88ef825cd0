"""The tasks of the benchmark, for the own SDK: they write down when they started, and that is all."""

import os
from datetime import timedelta
from pathlib import Path

from treadle import Treadle
from treadle.cli.bench.times import Times

STARTED = "TREADLE_BENCH_STARTED"
NOOP = "bench_noop"
ECHO = "bench_echo"

# A backlog made on purpose must not expire while it waits.
_PATIENCE = timedelta(hours=12)

_started = Times(Path(os.environ[STARTED])) if STARTED in os.environ else None


def _note_start(number: int) -> None:
    # Negative numbers are the warm-up.
    if number >= 0 and _started is not None:
        _started.mark(number)


def make_app(token: str | None = None) -> Treadle:
    """The app for one tenant."""
    app = Treadle(token)

    @app.task(name=NOOP, schedule_timeout=_PATIENCE)
    async def bench_noop(i: int) -> int:
        _note_start(i)
        return i

    @app.task(name=ECHO, schedule_timeout=_PATIENCE)
    async def bench_echo(i: int, data: str) -> str:
        _note_start(i)
        return data

    return app


app = make_app()
