"""The task of the benchmark, for the official Hatchet SDK. Run as a module it is the worker."""

import logging
import os
from pathlib import Path

from hatchet_sdk import ClientConfig, Context, Hatchet
from pydantic import BaseModel

from treadle.cli.bench.tasks import STARTED
from treadle.cli.bench.times import Times
from treadle.cli.parent import end_with_parent

_started = Times(Path(os.environ[STARTED])) if STARTED in os.environ else None

# A line of log for each step of each run would be measured too.
_logger = logging.getLogger("hatchet-bench")
_logger.setLevel(logging.WARNING)

hatchet = Hatchet(config=ClientConfig(logger=_logger))


class Number(BaseModel):
    """The input."""

    i: int


@hatchet.task(name="bench_noop", input_validator=Number)
async def bench_noop(number: Number, _context: Context) -> dict[str, int]:
    if number.i >= 0 and _started is not None:
        _started.mark(number.i)
    return {"i": number.i}


if __name__ == "__main__":
    end_with_parent()
    hatchet.worker("bench", slots=int(os.environ["TREADLE_BENCH_SLOTS"]), workflows=[bench_noop]).start()
