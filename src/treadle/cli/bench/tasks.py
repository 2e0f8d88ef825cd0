"""The task of the benchmark, for the own SDK: it writes down when it started, and that is all."""

import os
from pathlib import Path

from treadle import Treadle
from treadle.cli.bench.times import Times

STARTED = "TREADLE_BENCH_STARTED"

app = Treadle()
_started = Times(Path(os.environ[STARTED])) if STARTED in os.environ else None


@app.task
async def bench_noop(i: int) -> int:
    # Negative numbers are the warm-up.
    if i >= 0 and _started is not None:
        _started.mark(i)
    return i
