"""Kill the engine and the workers at random moments while 500 workflow runs are under way, with sleeps and events.

TREADLE_CHAOS_SEED repeats a round, TREADLE_CHAOS_ROUNDS asks for more of them, TREADLE_CHAOS_FLOWS changes the load.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import asyncpg

from tests.chaos.cluster import Cluster
from tests.chaos.effects import read_effects
from tests.chaos.flow_checker import check_flows
from tests.chaos.flow_history import IN_PROGRESS, FlowHistory, read_flow_history
from tests.chaos.flow_load import Pusher
from tests.chaos.flow_plan import FLOW, FLOW_APP
from tests.chaos.load import LoadClient
from tests.chaos.raw import RawClient
from tests.chaos.run import state_of, workers_are_ready
from tests.chaos.snapshot import count_unended
from tests.support.eventually import eventually
from treadle import Treadle
from treadle.testing.doctor import stuck_runs

logger = logging.getLogger(__name__)

FLOWS = int(os.environ.get("TREADLE_CHAOS_FLOWS", "500"))
# All are started within this time, and most of the faults come within it and the time that the last ones need.
STARTED_SECONDS = 10.0
BATCH = 20
# Both of the first ones, in any order; then whatever chance says, as long as there is work.
FIRST_FAULTS = ("engine", "worker")
FAULTS = ("engine", "engine", "worker", "pause")
MORE_FAULTS = 6
FAULT_PAUSE = (0.3, 1.5)
ROUND_SECONDS = 120.0
REST_SECONDS = 60.0
# A worker that is gone is given up soon: the round must not wait for that.
SETTINGS = {"TREADLE_SESSION_LOST_AFTER": "2.0", "TREADLE_CANARY_INTERVAL": "0.5"}


async def test_workflow_runs_end_as_planned_whoever_is_killed(seed: int, tmp_path: Path) -> None:
    """Sleeps pass, events come, and tasks start, fail and are skipped as if nobody had been killed."""
    async with (
        Cluster(tmp_path, workers=2, app=FLOW_APP, settings=SETTINGS) as cluster,
        _clients(cluster) as (raw, app),
    ):
        load = LoadClient(raw, FLOWS, task=FLOW, rate=FLOWS / STARTED_SECONDS, batch=BATCH)
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                await workers_are_ready(cluster)
                await _work_under_faults(cluster, load, Pusher(app, load.log, Random(seed)), Random(seed + 1))
                history = await _come_to_rest(cluster, load)
        except BaseException as problem:
            problem.add_note(f"seed {seed}; the client: {load}; the tables: {await state_of(cluster)}")
            problem.add_note("\n".join(cluster.log_tails()))
            raise
    problems = check_flows(history)
    assert not problems, f"seed {seed}:\n" + "\n".join(problems)


async def _work_under_faults(cluster: Cluster, load: LoadClient, pusher: Pusher, random: Random) -> None:
    faults = random.sample(FIRST_FAULTS, len(FIRST_FAULTS)) + random.choices(FAULTS, k=MORE_FAULTS)
    done: list[str] = []
    async with asyncio.TaskGroup() as group:
        working = group.create_task(load.run())
        pushing = group.create_task(pusher.run(working))
        for fault in faults:
            await asyncio.wait([working], timeout=random.uniform(*FAULT_PAUSE))
            if working.done():
                break
            logger.info("%s; %s", fault, load)
            match fault:
                case "engine":
                    await cluster.kill_engine()
                case "worker":
                    await cluster.kill_worker(random.randrange(100))
                case _:
                    # Frozen until its attempts are given to others: what it says afterwards is about superseded ones.
                    await cluster.pause_worker(random.randrange(100))
            done.append(fault)
        await pushing
    logger.info("%s; %d events, %d of them pushed again; %s", ", ".join(done), pusher.pushed, pusher.repeated, load)
    assert {"engine", "worker"} <= {*done}


async def _come_to_rest(cluster: Cluster, load: LoadClient) -> FlowHistory:
    url = cluster.engine.database_url
    connection = await asyncpg.connect(url)

    async def all_has_ended() -> None:
        # Runs of broken start calls were awaited by nobody, so the client's end is not the end of the work.
        assert await count_unended(connection) == 0
        for table in IN_PROGRESS:
            assert await connection.fetchval(f"SELECT count(*) FROM treadle.{table}") == 0, table

    try:
        await eventually(all_has_ended, timeout=REST_SECONDS)
        stuck = [str(finding) for finding in await stuck_runs(url)]
        return await read_flow_history(connection, load.log, read_effects(cluster.effects_folder), stuck)
    finally:
        await connection.close()


@asynccontextmanager
async def _clients(cluster: Cluster) -> AsyncIterator[tuple[RawClient, Treadle]]:
    """The wire by hand to start runs, and the SDK to push events."""
    engine = cluster.engine
    raw = RawClient(engine.grpc_address, engine.token)
    app = Treadle(engine.token, engine.grpc_address)
    try:
        yield raw, app
    finally:
        await raw.close()
        await asyncio.to_thread(app.close)
