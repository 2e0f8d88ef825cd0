"""Cancelling runs: queued ones and running ones, by id and by filter, from outside and from within."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hatchet_sdk import Hatchet
from hatchet_sdk.clients.admin import RunStatus
from hatchet_sdk.clients.rest.models.v1_task_status import V1TaskStatus
from hatchet_sdk.features.runs import BulkCancelReplayOpts, RunFilter

from tests.conformance.checks import event_kinds, started, status_becomes, sync_result
from tests.conformance.harness import Lab
from tests.conformance.workers.basic import BasicTasks
from tests.conformance.workers.models import Marked, Numbered
from tests.support.eventually import eventually
from tests.wire_edge.raw import RawClient

CANCEL = "/v1.AdminService/CancelTasks"


def _an_hour_ago() -> dict[str, int]:
    return {"seconds": int(time.time()) - 3600}


async def test_a_running_async_task_is_cancelled(
    tasks: BasicTasks, hatchet: Hatchet, raw: RawClient, lab: Lab, mark: str
) -> None:
    run = await tasks.patient.aio_run(Marked(mark=mark), wait_for_result=False)
    await started(lab, mark)
    await status_becomes(hatchet, run.workflow_run_id, RunStatus.RUNNING)

    answer = await raw.call(CANCEL, external_ids=[run.workflow_run_id])

    assert list(answer.cancelled_tasks) == [run.workflow_run_id]
    details = await hatchet.runs.aio_get_details(run.workflow_run_id)
    assert details.status is RunStatus.CANCELLED
    assert details.done

    def the_code_was_stopped() -> None:
        assert [effect.facts["flagged"] for effect in lab.effects.read(mark, "stopped")] == [True]

    await eventually(the_code_was_stopped)
    assert len(lab.effects.read(mark, "started")) == 1  # two retries were left, and none was made
    assert "CANCELLED" in await event_kinds(raw, run.workflow_run_id)


async def test_a_running_sync_task_sees_the_flag(tasks: BasicTasks, hatchet: Hatchet, lab: Lab, mark: str) -> None:
    run = await tasks.patient_in_thread.aio_run(Marked(mark=mark), wait_for_result=False)
    await started(lab, mark)

    await hatchet.runs.aio_cancel(run.workflow_run_id)

    def the_code_saw_it() -> None:
        assert lab.effects.read(mark, "stopped")

    await eventually(the_code_saw_it)
    await status_becomes(hatchet, run.workflow_run_id, RunStatus.CANCELLED)


async def test_waiters_learn_of_a_cancellation(tasks: BasicTasks, hatchet: Hatchet, lab: Lab, mark: str) -> None:
    """The SDK's own inconsistency: the sync result raises, the async result is empty."""
    stub = hatchet.stubs.workflow(name="patient", input_validator=Marked)
    run = await stub.aio_run(Marked(mark=mark), wait_for_result=False)
    await started(lab, mark)

    await hatchet.runs.aio_cancel(run.workflow_run_id)

    assert await run.aio_result() == {}
    with pytest.raises(ValueError, match="was cancelled"):
        await sync_result(run)


async def test_a_queued_run_is_cancelled_and_never_starts(
    narrow_tasks: BasicTasks, raw: RawClient, lab: Lab, mark: str
) -> None:
    holder = await narrow_tasks.patient.aio_run(Marked(mark=f"{mark}-holder"), wait_for_result=False)
    await started(lab, f"{mark}-holder")
    try:
        queued = await narrow_tasks.patient.aio_run(Marked(mark=mark), wait_for_result=False)
        answer = await raw.call(CANCEL, external_ids=[queued.workflow_run_id])
        assert list(answer.cancelled_tasks) == [queued.workflow_run_id]
        with pytest.raises(ValueError, match="was cancelled"):
            await sync_result(queued)
    finally:
        lab.effects.open(f"{mark}-holder")
    await holder.aio_result()
    # The slot is free again, and what was queued after the cancelled run has run: so it was passed over.
    await narrow_tasks.numbered.aio_run(Numbered(mark=f"{mark}-next", number=1))
    assert lab.effects.read(mark) == []


async def test_cancelling_by_filter_takes_only_what_matches(
    tasks: BasicTasks, hatchet: Hatchet, raw: RawClient, lab: Lab, mark: str
) -> None:
    workflow_id = (await tasks.look_around.aio_run()).workflow_id
    doomed = [
        await tasks.patient.aio_run(Marked(mark=mark), wait_for_result=False, additional_metadata={"batch": mark})
        for _ in range(3)
    ]
    spared = await tasks.patient.aio_run(
        Marked(mark=mark), wait_for_result=False, additional_metadata={"batch": "another"}
    )
    await started(lab, mark, times=4)

    by_other_workflow = await raw.call(
        CANCEL,
        filter={
            "since": _an_hour_ago(),
            "workflow_ids": [workflow_id],
            "additional_metadata": [f"batch:{mark}"],
        },
    )
    by_other_status = await raw.call(
        CANCEL,
        filter={
            "since": _an_hour_ago(),
            "statuses": ["FAILED"],
            "additional_metadata": [f"batch:{mark}"],
        },
    )
    by_metadata = await raw.call(
        CANCEL,
        filter={
            "since": _an_hour_ago(),
            "statuses": ["QUEUED", "RUNNING"],
            "additional_metadata": [f"batch:{mark}"],
        },
    )

    assert list(by_other_workflow.cancelled_tasks) == []
    assert list(by_other_status.cancelled_tasks) == []
    assert set(by_metadata.cancelled_tasks) == {run.workflow_run_id for run in doomed}
    for run in doomed:
        assert (await hatchet.runs.aio_get_details(run.workflow_run_id)).status is RunStatus.CANCELLED
    lab.effects.open(mark)
    await spared.aio_result()


async def test_cancelling_by_filter_through_the_sdk(tasks: BasicTasks, hatchet: Hatchet, lab: Lab, mark: str) -> None:
    runs = [
        await tasks.patient.aio_run(Marked(mark=mark), wait_for_result=False, additional_metadata={"batch": mark})
        for _ in range(2)
    ]
    await started(lab, mark, times=2)

    await hatchet.runs.aio_bulk_cancel(
        BulkCancelReplayOpts(
            filters=RunFilter(
                since=datetime.now(tz=UTC) - timedelta(hours=1),
                statuses=[V1TaskStatus.RUNNING],
                additional_metadata={"batch": mark},
            )
        )
    )

    for run in runs:
        await status_becomes(hatchet, run.workflow_run_id, RunStatus.CANCELLED)


async def test_a_task_cancels_itself(tasks: BasicTasks, hatchet: Hatchet, mark: str) -> None:
    run = await tasks.cancels_itself.aio_run(Marked(mark=mark), wait_for_result=False)

    await status_becomes(hatchet, run.workflow_run_id, RunStatus.CANCELLED)


async def test_what_has_ended_stays_as_it_ended(
    tasks: BasicTasks, hatchet: Hatchet, raw: RawClient, lab: Lab, mark: str
) -> None:
    run = await tasks.patient.aio_run(Marked(mark=mark), wait_for_result=False)
    lab.effects.open(mark)
    await run.aio_result()

    answer = await raw.call(CANCEL, external_ids=[run.workflow_run_id])

    assert list(answer.cancelled_tasks) == []
    assert (await hatchet.runs.aio_get_details(run.workflow_run_id)).status is RunStatus.COMPLETED
