"""Workers of several tenants in one process, each with its own session. Run as a module."""

import asyncio
import json
import os
import signal

from treadle.cli.bench.tasks import make_app
from treadle.cli.parent import end_with_parent
from treadle.sdk.worker.worker import Worker

TOKENS = "TREADLE_BENCH_TOKENS"
SLOTS = "TREADLE_BENCH_SLOTS"


async def main() -> None:
    slots = int(os.environ[SLOTS])
    workers = [
        Worker(make_app(token), slots=slots, name=f"bench-{number}")
        for number, token in enumerate(json.loads(os.environ[TOKENS]))
    ]
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, _stop_all, workers)
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.run())


def _stop_all(workers: list[Worker]) -> None:
    for worker in workers:
        worker.request_stop()


if __name__ == "__main__":
    import uvloop

    end_with_parent()
    uvloop.run(main())
