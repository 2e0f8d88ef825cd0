"""A client that pushes the events of workflow runs, at random times and through Treadle's own SDK."""

import asyncio
from random import Random

from tests.chaos.flow_plan import events_of
from tests.chaos.history import ClientLog
from treadle import Treadle
from treadle.model.errors import TreadleError

PAUSE_AFTER_FAILURE = 0.1
LOOKS_EVERY = 0.05
LATEST_SECONDS = 4.0


class Pusher:
    """Pushes what each run waits for once its start was answered, or broke before an answer.

    An event is pushed until it is acknowledged, and not again afterwards: from then on it is the engine's to deliver.
    """

    def __init__(self, app: Treadle, log: ClientLog, random: Random) -> None:
        self.pushed = 0
        self.repeated = 0
        self._app = app
        self._log = log
        self._random = random
        self._seen: set[int] = set()

    async def run(self, load: "asyncio.Task[None]") -> None:
        """Returns when the load has ended, and everything is pushed."""
        async with asyncio.TaskGroup() as group:
            while True:
                ended = load.done()
                fresh = ({*self._log.acknowledged.values()} | self._log.uncertain) - self._seen
                self._seen |= fresh
                for number in sorted(fresh):
                    for key in events_of(number):
                        group.create_task(self._push(key, number, self._random.uniform(0, LATEST_SECONDS)))
                if ended and not fresh:
                    return
                await asyncio.wait([load], timeout=LOOKS_EVERY)

    async def _push(self, key: str, number: int, after: float) -> None:
        await asyncio.sleep(after)
        while True:
            try:
                await self._app.push(key, {"number": number}, scope=str(number))
            except TreadleError:
                # Its engine was killed: it may be stored or not. A second one changes nothing.
                self.repeated += 1
                await asyncio.sleep(PAUSE_AFTER_FAILURE)
            else:
                self.pushed += 1
                return
