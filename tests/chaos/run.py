"""One chaos round: work, faults at random moments, rest, and the verdict."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import asyncpg

from tests.chaos.checker import check
from tests.chaos.cluster import Cluster
from tests.chaos.effects import read_effects
from tests.chaos.history import History
from tests.chaos.load import LoadClient
from tests.chaos.moments import Measure, random_moments, reached
from tests.chaos.raw import RawClient
from tests.chaos.snapshot import count_unended, count_unfinished, read_snapshot
from tests.support.eventually import eventually

logger = logging.getLogger(__name__)

ROUND_SECONDS = float(os.environ.get("TREADLE_CHAOS_ROUND_SECONDS", "180"))
REST_SECONDS = 60.0
REGISTERED_SECONDS = 30.0
# A start and an effect line of one run, both written by `EffectLog.write`.
BYTES_PER_RUN = 2 * 75

Fault = Callable[[Cluster, Random], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Round:
    """What one round does. The seed decides everything that is random."""

    seed: int
    runs: int
    faults: int
    workers: int = 2


async def run_round(plan: Round, fault: Fault, folder: Path) -> None:
    """Run it, and fail with all that the checker found."""
    random = Random(plan.seed)
    async with Cluster(folder, workers=plan.workers) as cluster, _client(cluster) as client:
        load = LoadClient(client, plan.runs)
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                await workers_are_ready(cluster)
                await _work_under_faults(plan, fault, cluster, load, random)
                history = await come_to_rest(cluster, load)
        except BaseException as problem:
            problem.add_note(f"seed {plan.seed}; the client: {load}; the tables: {await state_of(cluster)}")
            problem.add_note("\n".join(cluster.log_tails()))
            raise
    problems = check(history)
    assert not problems, f"seed {plan.seed}:\n" + "\n".join(problems)


async def workers_are_ready(cluster: Cluster) -> None:
    connection = await asyncpg.connect(cluster.engine.database_url)

    async def registered() -> int:
        cluster.check_workers()
        workers = await connection.fetchval("SELECT count(*) FROM treadle.worker")
        assert workers >= cluster.wanted_workers
        return int(workers)

    try:
        await eventually(registered, timeout=REGISTERED_SECONDS)
    finally:
        await connection.close()


async def _work_under_faults(plan: Round, fault: Fault, cluster: Cluster, load: LoadClient, random: Random) -> None:
    def progress(measure: Measure) -> float:
        if measure is Measure.ACKNOWLEDGED:
            return load.acknowledged / plan.runs
        return cluster.effect_bytes() / (BYTES_PER_RUN * plan.runs)

    injected = 0
    async with asyncio.TaskGroup() as group:
        working = group.create_task(load.run())
        for moment in random_moments(random, plan.faults):
            if not await reached(moment, progress=progress, load=working):
                break
            told = (plan.seed, moment.measure, moment.share, load.acknowledged, load.in_flight)
            logger.info("seed %d: fault at %s %.3f; acknowledged %d, in flight %d", *told)
            await fault(cluster, random)
            injected += 1
    # A fault takes a while, and the work may be over before the next one; but one at least must hit it.
    assert injected > 0


async def come_to_rest(cluster: Cluster, load: LoadClient) -> History:
    async def connected() -> asyncpg.Connection:
        # The last fault may have hit after all the work was done: an engine at rest brings its database back as well.
        try:
            return await asyncpg.connect(cluster.engine.database_url)
        except (OSError, asyncpg.PostgresError) as problem:
            raise AssertionError(problem) from problem

    connection = await eventually(connected, timeout=REST_SECONDS)

    async def nothing_is_in_progress() -> dict[str, int]:
        # Runs of broken start calls were awaited by nobody, so the client's end is not the end of the work.
        assert await count_unended(connection) == 0
        unfinished = await count_unfinished(connection)
        assert not any(unfinished.values())
        return unfinished

    try:
        await eventually(nothing_is_in_progress, timeout=REST_SECONDS)
        snapshot = await read_snapshot(connection)
    finally:
        await connection.close()
    return History(load.log, read_effects(cluster.effects_folder), snapshot)


async def state_of(cluster: Cluster) -> str:
    """What a failed round left in the tables, if they can be read."""
    try:
        connection = await asyncpg.connect(cluster.engine.database_url, timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError) as problem:
        return f"out of reach ({problem!r})"
    try:
        return f"{await count_unended(connection)} runs without result, {await count_unfinished(connection)}"
    finally:
        await connection.close()


@asynccontextmanager
async def _client(cluster: Cluster) -> AsyncIterator[RawClient]:
    client = RawClient(cluster.engine.grpc_address, cluster.engine.token)
    try:
        yield client
    finally:
        await client.close()
