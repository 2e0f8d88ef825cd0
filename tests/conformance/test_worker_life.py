"""How a worker of the official SDK comes, goes, is believed alive, and outlives the engine."""

import asyncio
import time
from collections.abc import Iterator

import asyncpg
import pytest
from hatchet_sdk.clients.admin import RunStatus

from tests.conformance.checks import event_kinds, started, status_becomes
from tests.conformance.harness import Lab
from tests.conformance.workers.basic import declare
from tests.conformance.workers.models import Marked, Number
from tests.support.eventually import eventually
from tests.wire_edge.raw import RawClient
from treadle.testing.engine import EngineProcess

LOST_AFTER = 6.0  # seconds; heartbeats come every 4


@pytest.fixture(scope="module")
def strict_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """An engine that gives a silent worker up much sooner than the default."""
    folder = tmp_path_factory.mktemp("strict")
    with EngineProcess(folder / "engine", env={"TREADLE_WORKER_LOST_AFTER": str(LOST_AFTER)}) as engine:
        yield Lab(engine, folder)


async def test_an_idle_worker_stops_soon_after_sigterm(lab: Lab) -> None:
    with lab.worker(namespace="idle") as worker:
        await declare(lab.hatchet("idle")).double.aio_run(Number(value=1))
        begin = time.monotonic()
        worker.ask_to_stop()

        assert worker.wait(20) == 0
        # Its request to be paused would have been given up only after 10 s.
        assert time.monotonic() - begin < 10
        assert "task assignment paused" in worker.log()


async def test_a_stopping_worker_finishes_what_it_runs_and_gets_nothing_new(lab: Lab, mark: str) -> None:
    tasks = declare(lab.hatchet("stopping"))
    with lab.worker(namespace="stopping", slots=5) as first:
        running = await tasks.patient.aio_run(Marked(mark=mark), wait_for_result=False)
        await started(lab, mark)
        first.ask_to_stop()

        def paused() -> None:
            assert "task assignment paused" in first.log()

        await eventually(paused)
        late = await tasks.double.aio_run(Number(value=3), wait_for_result=False)
        lab.effects.open(mark)
        assert (await running.aio_result()).retry_count == 0
        assert first.wait(20) == 0
        first_worker = (await started(lab, mark))[0]["worker_id"]

    with lab.worker(namespace="stopping", slots=5):
        result = await late.aio_result()

    assert result.value == 6
    assert result.worker_id != first_worker


async def test_a_worker_may_end_itself_after_some_tasks(lab: Lab) -> None:
    tasks = declare(lab.hatchet("limited"))
    limit = {"HATCHET_CLIENT_TERMINATE_WORKER_AFTER_NUM_TASKS": "3"}
    with lab.worker(namespace="limited", env=limit) as worker:
        first = await asyncio.gather(*(tasks.double.aio_run(Number(value=n)) for n in range(3)))
        assert worker.wait(20) == 0
        late = await tasks.double.aio_run(Number(value=3), wait_for_result=False)

    with lab.worker(namespace="limited"):
        last = await late.aio_result()

    assert [result.value for result in (*first, last)] == [0, 2, 4, 6]
    assert last.worker_id != first[0].worker_id


async def last_heard_of(lab: Lab, worker_id: str) -> float:
    worker = await lab.hatchet().workers.aio_get(worker_id)
    assert worker.last_heartbeat_at is not None
    return worker.last_heartbeat_at.timestamp()


async def test_heartbeats_keep_a_busy_worker_alive(strict_lab: Lab, mark: str) -> None:
    """One task runs much longer than a silent worker is waited for, and is not given to another."""
    tasks = declare(strict_lab.hatchet("beating"))
    with strict_lab.worker(namespace="beating"), strict_lab.worker(namespace="beating"):
        run = await tasks.patient.aio_run(Marked(mark=mark), wait_for_result=False)
        worker_id = (await started(strict_lab, mark))[0]["worker_id"]
        begin = await last_heard_of(strict_lab, worker_id)

        async def heard_of_long_after() -> float:
            seen = await last_heard_of(strict_lab, worker_id)
            assert seen - begin > LOST_AFTER + 1
            return seen

        _: float = await eventually(heard_of_long_after, timeout=30)
        strict_lab.effects.open(mark)

        assert (await run.aio_result()).retry_count == 0
        assert len(strict_lab.effects.read(mark, "started")) == 1


async def test_the_task_of_a_dead_worker_goes_to_another(strict_lab: Lab, mark: str) -> None:
    tasks = declare(strict_lab.hatchet("dying"))
    async with RawClient(strict_lab.engine.grpc_address, strict_lab.engine.token) as raw:
        with strict_lab.worker(namespace="dying") as doomed:
            run = await tasks.patient_in_thread.aio_run(Marked(mark=mark), wait_for_result=False)
            first = (await started(strict_lab, mark))[0]["worker_id"]
            doomed.kill()

            with strict_lab.worker(namespace="dying"):
                second = (await started(strict_lab, mark, times=2, timeout=30))[1]["worker_id"]
                strict_lab.effects.open(mark)
                await run.aio_result()

        assert second != first
        # Declared without retries: being given to another worker is none.
        assert "REASSIGNED" in await event_kinds(raw, run.workflow_run_id)
        detail = await raw.call("/treadle.v1.Runs/Get", id=run.workflow_run_id)
        assert (detail.run.attempt, detail.run.retries_used) == (2, 0)


@pytest.mark.timeout(150)
async def test_work_goes_on_after_the_engine_was_killed(tmp_path_factory: pytest.TempPathFactory, mark: str) -> None:
    """Tasks run on without the engine, one even ends, others wait in the queue; all are done once, by the same worker.

    Only one ends while there is no engine, and the others when its report has got through: the SDK sends all reports
    on one channel, and closes it under the others when one of them fails. Those are lost without another try, and no
    engine can make up for it before their timeout.
    """
    folder = tmp_path_factory.mktemp("killed")
    running, queued = 10, 60
    with EngineProcess(folder / "engine") as engine:
        lab = Lab(engine, folder)
        tasks = declare(lab.hatchet())
        with lab.worker(slots=running + 1) as worker:
            marks = [mark] * running + [f"{mark}-early"]
            patients = [await tasks.patient.aio_run(Marked(mark=each), wait_for_result=False) for each in marks]
            worker_ids = {facts["worker_id"] for facts in await started(lab, mark, times=running)}
            await started(lab, f"{mark}-early")
            for run in patients:
                await status_becomes(lab.hatchet(), run.workflow_run_id, RunStatus.RUNNING)
            doubles = await tasks.double.aio_run_many(
                [tasks.double.create_bulk_run_item(Number(value=n)) for n in range(queued)],
                wait_for_result=False,
            )
            results = asyncio.gather(*(run.aio_result() for run in doubles))
            patient_results = asyncio.gather(*(run.aio_result() for run in patients))

            engine.kill()
            lab.effects.open(f"{mark}-early")

            def one_has_ended() -> None:
                assert lab.effects.read(f"{mark}-early", "finished")

            await eventually(one_has_ended)
            await asyncio.to_thread(engine.restart)
            assert (await patients[-1].aio_result()).retry_count == 0
            lab.effects.open(mark)

            doubled = await results
            assert [attempt.retry_count for attempt in await patient_results] == [0] * len(patients)
            assert worker.exit_code() is None

        assert [result.value for result in doubled] == [2 * n for n in range(queued)]
        assert {result.worker_id for result in doubled} == worker_ids
        assert len(worker_ids) == 1
        assert len(lab.effects.read(mark, "started")) == running
        assert len(lab.effects.read(f"{mark}-early", "started")) == 1
        connection = await asyncpg.connect(engine.database_url)
        try:
            assert await connection.fetchval("SELECT count(*) FROM treadle.worker") == 1
        finally:
            await connection.close()
