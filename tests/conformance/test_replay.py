"""Replay: the same run once more, with the same id and the same input."""

import time

import pytest
from hatchet_sdk import Hatchet
from hatchet_sdk.clients.admin import RunStatus
from hatchet_sdk.exceptions import FailedTaskRunExceptionGroup

from tests.conformance.checks import started, status_becomes
from tests.conformance.harness import Lab
from tests.conformance.workers.basic import BasicTasks
from tests.conformance.workers.flows import Flows, Given
from tests.conformance.workers.models import Flaky, Marked, Number
from tests.support.eventually import eventually
from tests.wire_edge.raw import RawClient
from treadle.model.ids import step_id

REPLAY = "/v1.AdminService/ReplayTasks"


async def test_a_failed_run_is_replayed_under_its_id(
    tasks: BasicTasks, hatchet: Hatchet, raw: RawClient, lab: Lab, mark: str
) -> None:
    """It needs five attempts. Four are declared; the replay brings the others, and its count goes on."""
    run = await tasks.flaky.aio_run(Flaky(mark=mark, failures=4), wait_for_result=False)
    with pytest.raises(FailedTaskRunExceptionGroup):
        await run.aio_result()

    answer = await raw.call(REPLAY, external_ids=[run.workflow_run_id])

    assert list(answer.replayed_tasks) == [run.workflow_run_id]
    await status_becomes(hatchet, run.workflow_run_id, RunStatus.COMPLETED)
    attempts = [effect.facts["retry_count"] for effect in lab.effects.read(mark, "attempt")]
    assert attempts == [0, 1, 2, 3, 4]
    assert (await run.aio_result()).retry_count == 4


async def test_a_replayed_run_has_all_its_retries_again(
    tasks: BasicTasks, hatchet: Hatchet, raw: RawClient, lab: Lab, mark: str
) -> None:
    run = await tasks.flaky.aio_run(Flaky(mark=mark, failures=99), wait_for_result=False)
    with pytest.raises(FailedTaskRunExceptionGroup):
        await run.aio_result()

    await hatchet.runs.aio_replay(run.workflow_run_id)

    def eight_attempts() -> None:
        assert len(lab.effects.read(mark, "attempt")) == 8

    await eventually(eight_attempts)
    await status_becomes(hatchet, run.workflow_run_id, RunStatus.FAILED)


async def test_a_cancelled_run_is_replayed(
    tasks: BasicTasks, hatchet: Hatchet, raw: RawClient, lab: Lab, mark: str
) -> None:
    run = await tasks.patient.aio_run(Marked(mark=mark), wait_for_result=False)
    await started(lab, mark)
    await raw.call("/v1.AdminService/CancelTasks", external_ids=[run.workflow_run_id])
    await status_becomes(hatchet, run.workflow_run_id, RunStatus.CANCELLED)

    await raw.call(REPLAY, external_ids=[run.workflow_run_id])
    lab.effects.open(mark)

    await status_becomes(hatchet, run.workflow_run_id, RunStatus.COMPLETED)
    assert len(lab.effects.read(mark, "started")) == 2


async def test_a_completed_run_is_replayed(
    tasks: BasicTasks, hatchet: Hatchet, raw: RawClient, lab: Lab, mark: str
) -> None:
    run = await tasks.flaky.aio_run(Flaky(mark=mark), wait_for_result=False)
    await run.aio_result()

    await raw.call(REPLAY, external_ids=[run.workflow_run_id])

    def two_attempts() -> None:
        assert [effect.facts["retry_count"] for effect in lab.effects.read(mark, "attempt")] == [0, 1]

    await eventually(two_attempts)
    await status_becomes(hatchet, run.workflow_run_id, RunStatus.COMPLETED)


async def test_replay_by_filter_takes_only_what_matches(
    tasks: BasicTasks, hatchet: Hatchet, raw: RawClient, lab: Lab, mark: str
) -> None:
    failed = await tasks.hopeless.aio_run(Marked(mark=mark), wait_for_result=False, additional_metadata={"batch": mark})
    fine = await tasks.double.aio_run(
        Number(value=1),
        wait_for_result=False,
        additional_metadata={"batch": mark},
    )
    await fine.aio_result()
    await status_becomes(hatchet, failed.workflow_run_id, RunStatus.FAILED)

    answer = await raw.call(
        REPLAY,
        filter={
            "since": {"seconds": int(time.time()) - 3600},
            "statuses": ["FAILED"],
            "additional_metadata": [f"batch:{mark}"],
        },
    )

    assert list(answer.replayed_tasks) == [failed.workflow_run_id]

    def a_second_attempt() -> None:
        assert len(lab.effects.read(mark, "attempt")) == 2

    await eventually(a_second_attempt)
    await status_becomes(hatchet, failed.workflow_run_id, RunStatus.FAILED)


# -- workflows of several tasks --------------------------------------------------------------------------------------


def attempts(lab: Lab, mark: str) -> dict[str, list[int]]:
    """The retry counts with which each task of a run ran."""
    found: dict[str, list[int]] = {}
    for effect in lab.effects.read(mark):
        found.setdefault(effect.event, []).append(effect.facts["retry_count"])
    return found


async def test_a_completed_workflow_run_runs_again_as_a_whole(
    flows: Flows, hatchet: Hatchet, lab: Lab, mark: str
) -> None:
    run = await flows.diamond.aio_run(Given(mark=mark, number=4), wait_for_result=False)
    first = await run.aio_result()

    await hatchet.runs.aio_replay(run.workflow_run_id)
    again = await run.aio_result()

    assert again["join"]["sum"] == first["join"]["sum"] == 45
    assert attempts(lab, mark) == {name: [0, 1] for name in ("start", "left", "right", "join")}


async def test_a_failed_workflow_run_goes_on_where_it_failed(
    flows: Flows, hatchet: Hatchet, lab: Lab, mark: str
) -> None:
    """Two attempts fail; the replay brings a third."""
    run = await flows.mended.aio_run(Given(mark=mark, failures=2), wait_for_result=False)
    with pytest.raises(FailedTaskRunExceptionGroup):
        await run.aio_result()

    await hatchet.runs.aio_replay(run.workflow_run_id)
    result = await run.aio_result()

    assert (result["fine"], result["shaky"], result["last"]) == ({"value": 1}, {"value": 2}, {"value": 3})
    assert [effect.facts["retry_count"] for effect in lab.effects.read(mark, "shaky")] == [0, 1, 2]
    await status_becomes(hatchet, run.workflow_run_id, RunStatus.COMPLETED)
    details = await hatchet.runs.aio_get_details(run.workflow_run_id)
    # The failure task is as if it had never been.
    assert set(details.task_runs) == {"fine", "shaky", "last"}


async def test_a_replayed_task_takes_along_what_waits_for_it(
    flows: Flows, hatchet: Hatchet, lab: Lab, mark: str
) -> None:
    run = await flows.diamond.aio_run(Given(mark=mark, number=4), wait_for_result=False)
    await run.aio_result()

    await hatchet.runs.aio_replay(step_id(run.workflow_run_id, 1))

    def all_have_run() -> None:
        assert attempts(lab, mark) == {"start": [0], "left": [0, 1], "right": [0], "join": [0, 1]}

    await eventually(all_have_run)
    await status_becomes(hatchet, run.workflow_run_id, RunStatus.COMPLETED)
    assert (await run.aio_result())["join"]["sum"] == 45


async def test_a_cancelled_task_of_a_workflow_run_is_replayed(
    flows: Flows, hatchet: Hatchet, lab: Lab, mark: str
) -> None:
    run = await flows.flow_of_patience.aio_run(Given(mark=mark), wait_for_result=False)
    await started(lab, mark)
    task_id = step_id(run.workflow_run_id, 0)
    await hatchet.runs.aio_cancel(task_id)
    await status_becomes(hatchet, run.workflow_run_id, RunStatus.CANCELLED)

    await hatchet.runs.aio_replay(task_id)
    lab.effects.open(mark)

    await status_becomes(hatchet, run.workflow_run_id, RunStatus.COMPLETED)
    assert set(await run.aio_result()) == {"patient", "after"}
