"""Several engines on one database, under a steady load, one of them killed every few seconds."""

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from random import Random

import asyncpg

from tests.chaos.checker import check
from tests.chaos.cluster import Cluster
from tests.chaos.effects import Mark
from tests.chaos.history import History
from tests.chaos.load import LoadClient
from tests.chaos.raw import RawClient
from tests.chaos.run import come_to_rest, state_of, workers_are_ready
from treadle.testing.engine import EngineProcess

logger = logging.getLogger(__name__)

AIMED = 0.5
"""The share of kills that are aimed at the owner of the tenant."""

_OWNER = "SELECT e.address FROM treadle.lease l JOIN treadle.engine e ON e.id = l.engine_id"


@dataclass(frozen=True, slots=True)
class Siege:
    """What is done to the engines. The seed decides who is killed when."""

    seed: int
    seconds: float
    kill_every: float
    rate: float
    engines: int = 3
    workers: int = 2


@dataclass(slots=True)
class Figures:
    """What came of it."""

    runs: int = 0
    kills: int = 0
    owners_killed: int = 0
    longest_gap: float = 0.0
    """Seconds between two starts of attempts, while there was always something to start."""
    attempts: int = 0
    seconds: float = 0.0
    kill_times: list[int] = field(default_factory=list)
    """When engines were killed, by the machine's monotonic clock."""
    gaps: list[str] = field(default_factory=list)
    """The longest gaps, in words."""

    def __str__(self) -> str:
        return (
            f"{self.runs} runs in {self.seconds:.0f} s ({self.runs / self.seconds:.0f}/s), {self.attempts} attempts;"
            f" {self.kills} engines killed, {self.owners_killed} of them while they owned the tenant;"
            f" longest gaps between two starts: {', '.join(self.gaps)}"
        )


class Engines(Cluster):
    """Engines on one database, and workers that know all their addresses."""

    def __init__(self, folder: Path, database_url: str, *, engines: int, workers: int) -> None:
        super().__init__(folder, workers=workers)
        self.engines = [EngineProcess(folder / f"engine-{n}", database_url=database_url) for n in range(engines)]
        self.engine = self.engines[0]

    async def start_engines(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(engine.start) for engine in self.engines))

    async def close_engines(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(engine.close) for engine in self.engines))

    def client_env(self) -> dict[str, str]:
        addresses = ",".join(engine.grpc_address for engine in self.engines)
        return self.engine.client_env | {"TREADLE_URL": addresses}

    def clients(self) -> list[RawClient]:
        """One client per engine, that turns to the next ones when that one is gone."""
        addresses = [engine.grpc_address for engine in self.engines]
        turned = (addresses[n:] + addresses[:n] for n in range(len(addresses)))
        return [RawClient("ipv4:" + ",".join(turn), self.engine.token) for turn in turned]

    async def kill(self, index: int) -> None:
        """Kill one engine without a warning, and start it again."""
        await asyncio.to_thread(self.engines[index].kill)
        await asyncio.to_thread(self.engines[index].start)

    async def owning(self) -> int | None:
        """Which engine owns the tenant; None when none does at the moment."""
        connection = await asyncpg.connect(self.engine.database_url)
        try:
            address = await connection.fetchval(_OWNER)
        finally:
            await connection.close()
        return next((n for n, engine in enumerate(self.engines) if engine.grpc_address == address), None)


async def besiege(plan: Siege, folder: Path, database_url: str) -> Figures:
    """Do it, and fail with all that the checker found."""
    figures = Figures()
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(
            Engines(folder, database_url, engines=plan.engines, workers=plan.workers)
        )
        clients = cluster.clients()
        for client in clients:
            stack.push_async_callback(client.close)
        load = LoadClient(clients[0], int(plan.seconds * plan.rate), rate=plan.rate, senders=clients)
        try:
            async with asyncio.timeout(plan.seconds * 2 + 120):
                await workers_are_ready(cluster)
                await _work_while_engines_die(plan, cluster, load, figures)
                history = await come_to_rest(cluster, load)
        except BaseException as problem:
            problem.add_note(f"seed {plan.seed}; the client: {load}; the tables: {await state_of(cluster)}")
            for engine in cluster.engines:
                problem.add_note(f"{engine.data_dir.name}:\n{engine.log_tail(4000)}")
            problem.add_note("\n".join(cluster.log_tails()))
            raise
    problems = check(history)
    assert not problems, f"seed {plan.seed}:\n" + "\n".join(problems)
    _measure(history, figures)
    return figures


async def _work_while_engines_die(plan: Siege, cluster: Engines, load: LoadClient, figures: Figures) -> None:
    random = Random(plan.seed)
    began = asyncio.get_running_loop().time()
    working = asyncio.create_task(load.run())
    try:
        for turn in count(1):
            # Not on the dot, so that a kill meets the heartbeats of the others at any point.
            due = began + plan.kill_every * (turn + random.uniform(-0.2, 0.2))
            await asyncio.wait([working], timeout=max(due - asyncio.get_running_loop().time(), 0))
            now = asyncio.get_running_loop().time() - began
            if working.done() or now > plan.seconds:
                break
            # Any of them, and every other time the one that it matters most to lose.
            index, aimed = random.randrange(plan.engines), random.random() < AIMED
            owner = await cluster.owning()
            if aimed and owner is not None:
                index = owner
            owns = index == owner
            told = (plan.seed, "owner" if owns else "engine", index, now, load.acknowledged)
            logger.info("seed %d: kill of %s %d at %.1f s, acknowledged %d", *told)
            figures.kill_times.append(time.monotonic_ns())
            await cluster.kill(index)
            figures.kills += 1
            figures.owners_killed += owns
        await working
    finally:
        working.cancel()
        await asyncio.wait([working])
    figures.seconds = asyncio.get_running_loop().time() - began
    assert figures.kills > 0


def _measure(history: History, figures: Figures) -> None:
    starts = [line.at_ns for line in history.effects if line.mark is Mark.START]
    figures.runs = len(history.snapshot.results)
    figures.attempts = sum(result.attempt for result in history.snapshot.results)
    gaps = sorted(((after - before, before) for before, after in pairwise(starts)), reverse=True)
    figures.longest_gap = gaps[0][0] / 1e9
    for length, began in gaps[:5]:
        killed = max((at for at in figures.kill_times if at <= began + length), default=None)
        after = "" if killed is None else f" ({(began - killed) / 1e9:+.2f} s from the kill before it)"
        figures.gaps.append(f"{length / 1e9:.2f} s{after}")
