"""Roles split over processes: together they do the job of one engine."""

import asyncio
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import asyncpg
import grpc.aio
import pytest

from tests.chaos.raw import RawClient, RawWorker
from tests.support.databases import new_database
from tests.support.eventually import eventually
from treadle.model.states import RunStatus
from treadle.testing.engine import EngineProcess
from treadle.wire.gen.treadle.v1 import runs_pb2

LONG = 30.0
SPLIT = {
    "scheduler": ("scheduler", "timers", "janitor"),
    "intake": ("intake",),
    "dispatcher": ("dispatcher",),
    "monitor": ("monitor", "api"),
}
ENV = {"TREADLE_SESSION_LOST_AFTER": "2.0", "TREADLE_CANARY_INTERVAL": "0.3"}


class Split:
    """One process for each group of roles."""

    def __init__(self, processes: dict[str, EngineProcess]) -> None:
        self.processes = processes
        self.token = processes["intake"].token

    def client(self, role: str) -> RawClient:
        return RawClient(self.processes[role].grpc_address, self.token)


@pytest.fixture(scope="module")
def split(postgres_url: str, empty_schema: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Split]:
    with ExitStack() as stack:
        url = stack.enter_context(new_database(postgres_url, template=empty_schema))
        folder = tmp_path_factory.mktemp("split")
        processes = {
            name: EngineProcess(folder / name, database_url=url, roles=roles, env=ENV) for name, roles in SPLIT.items()
        }
        for process in processes.values():
            stack.callback(process.close)
        with ThreadPoolExecutor() as pool:
            list(pool.map(EngineProcess.start, processes.values()))
        yield Split(processes)


async def test_each_process_does_its_part(split: Split) -> None:
    """Taken in by one, scheduled by another, delivered by a third, shown by a fourth."""
    intake, dispatcher, monitor = (split.client(role) for role in ("intake", "dispatcher", "monitor"))
    action = await intake.put_task("split", retries=1)
    async with RawWorker(dispatcher, actions=[action]) as worker:
        run_ids = await intake.start("split", *["{}"] * 20)
        for run_id in run_ids:
            await worker.receive(run_id)
            await worker.complete(run_id, 1, b'"split"')
        ends = await asyncio.gather(*(monitor.ended(run_id) for run_id in run_ids))
        assert set(ends) == {(RunStatus.COMPLETED, b'"split"')}
    for client in (intake, dispatcher, monitor):
        await client.close()


async def test_results_are_pushed_by_a_process_that_only_monitors(split: Split) -> None:
    intake, dispatcher, monitor = (split.client(role) for role in ("intake", "dispatcher", "monitor"))
    action = await intake.put_task("awaited")
    (run_id,) = await intake.start("awaited", "{}")
    method: Any = monitor.channel.stream_stream(
        "/treadle.v1.Runs/Await",
        request_serializer=runs_pb2.AwaitRequest.SerializeToString,
        response_deserializer=runs_pb2.AwaitResponse.FromString,
    )
    call = method(metadata=monitor.metadata)
    await call.write(runs_pb2.AwaitRequest(run_ids=[run_id]))
    async with RawWorker(dispatcher, actions=[action]) as worker:
        await worker.receive(run_id)
        await worker.complete(run_id, 1, b'"pushed"')
        response = await asyncio.wait_for(call.read(), LONG)
    assert [(result.run_id, result.output) for result in response.results] == [(run_id, b'"pushed"')]
    call.cancel()
    for client in (intake, dispatcher, monitor):
        await client.close()


async def test_cancelling_at_the_intake_reaches_the_worker(split: Split) -> None:
    intake, dispatcher = split.client("intake"), split.client("dispatcher")
    action = await intake.put_task("cancelled")
    async with RawWorker(dispatcher, actions=[action]) as worker:
        (run_id,) = await intake.start("cancelled", "{}")
        await worker.receive(run_id)
        assert list((await intake.cancel(run_id)).ids) == [run_id]
        await worker.cancelled(run_id, 1)
    for client in (intake, dispatcher):
        await client.close()


@pytest.mark.parametrize(
    ("role", "path"),
    [
        ("dispatcher", "/treadle.v1.Runs/Start"),
        ("scheduler", "/treadle.v1.Runs/Start"),
        ("intake", "/treadle.v1.Runs/Get"),
    ],
)
async def test_what_a_process_does_not_do_it_says(split: Split, role: str, path: str) -> None:
    client = split.client(role)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.call(path, runs_pb2.StartRequest(), runs_pb2.StartResponse)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await client.close()


async def test_only_the_scheduler_owns_tenants(split: Split) -> None:
    conn = await asyncpg.connect(split.processes["intake"].database_url)
    rows = await conn.fetch("SELECT address FROM treadle.engine WHERE schedules")
    await conn.close()
    assert [row["address"] for row in rows] == [split.processes["scheduler"].grpc_address]


async def test_only_the_api_serves_http(split: Split) -> None:
    assert split.processes["monitor"].http_url
    assert [name for name, process in split.processes.items() if process.http_url] == ["monitor"]


async def test_work_is_taken_in_while_nobody_schedules(split: Split) -> None:
    """The scheduler dies: runs are stored all the same, workers stay known, and all goes on when it is back."""
    intake, dispatcher, monitor = (split.client(role) for role in ("intake", "dispatcher", "monitor"))
    action = await intake.put_task("patient")
    scheduler = split.processes["scheduler"]
    async with RawWorker(dispatcher, actions=[action]) as worker:
        (in_hand,) = await intake.start("patient", "{}")
        await worker.receive(in_hand)
        await asyncio.to_thread(scheduler.kill)
        run_ids = await intake.start("patient", *["{}"] * 10)
        await asyncio.to_thread(scheduler.start)
        await worker.vanish()
        await worker.connect(in_hand=[(in_hand, 1)])
        await worker.complete(in_hand, 1)
        for run_id in run_ids:
            await worker.receive(run_id)
            await worker.complete(run_id, 1)
        ends = await asyncio.gather(*(monitor.ended(run_id) for run_id in [in_hand, *run_ids]))
        assert {status for status, _ in ends} == {RunStatus.COMPLETED}
    for client in (intake, dispatcher, monitor):
        await client.close()


async def test_a_split_engine_stops_in_good_order(split: Split) -> None:
    """Each process ends by itself on SIGTERM, and comes back."""
    processes = split.processes.values()
    for process in processes:
        process.signal(signal.SIGTERM)
    assert await asyncio.gather(*(asyncio.to_thread(process.wait, LONG) for process in processes)) == [0] * len(SPLIT)
    await asyncio.gather(*(asyncio.to_thread(process.start) for process in processes))
    await eventually(lambda: test_only_the_scheduler_owns_tenants(split), timeout=LONG)
