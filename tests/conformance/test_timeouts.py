"""Time limits on running and on waiting, and how a task gets more time."""

import pytest
from hatchet_sdk import Hatchet
from hatchet_sdk.clients.admin import RunStatus
from hatchet_sdk.exceptions import FailedTaskRunExceptionGroup

from tests.conformance.checks import event_kinds, started, sync_result
from tests.conformance.harness import Lab
from tests.conformance.workers.basic import BasicTasks
from tests.conformance.workers.models import Marked
from tests.support.eventually import eventually
from tests.wire_edge.raw import RawClient


async def test_a_task_over_its_time_fails_and_is_retried(
    tasks: BasicTasks, hatchet: Hatchet, lab: Lab, mark: str
) -> None:
    run = await tasks.outlasts_its_timeout.aio_run(Marked(mark=mark), wait_for_result=False)

    with pytest.raises(FailedTaskRunExceptionGroup, match="Task exceeded timeout of"):
        await run.aio_result()

    attempts = lab.effects.read(mark, "attempt")
    assert [attempt.facts["retry_count"] for attempt in attempts] == [0, 1]
    # Its second is counted from the moment the worker had it, a little before the code could write this down.
    assert attempts[1].at - attempts[0].at > 0.9
    details = await hatchet.runs.aio_get_details(run.workflow_run_id)
    assert details.status is RunStatus.FAILED
    assert "Task exceeded timeout of" in (details.task_runs["outlasts-its-timeout"].error or "")

    def both_were_told_to_stop() -> None:
        assert [effect.facts["retry_count"] for effect in lab.effects.read(mark, "stopped")] == [0, 1]

    await eventually(both_were_told_to_stop)


async def test_a_refreshed_timeout_lets_a_task_go_on(tasks: BasicTasks, lab: Lab, raw: RawClient, mark: str) -> None:
    """It runs 2.5 s with a timeout of 2 s, and adds twice 5 s."""
    run = await tasks.refreshes_its_timeout.aio_run(Marked(mark=mark), wait_for_result=False)

    assert (await run.aio_result()).retry_count == 0
    assert len(lab.effects.read(mark, "attempt")) == 1
    assert (await event_kinds(raw, run.workflow_run_id)).count("TIMEOUT_REFRESHED") == 2


async def test_a_run_that_waits_too_long_for_a_worker_is_cancelled(
    narrow_tasks: BasicTasks, lab: Lab, raw: RawClient, mark: str
) -> None:
    """The only slot is taken, and the one that waits has a schedule timeout of 1 s. Its retries don't help it."""
    holder = await narrow_tasks.patient.aio_run(Marked(mark=f"{mark}-holder"), wait_for_result=False)
    await started(lab, f"{mark}-holder")
    try:
        waiting = await narrow_tasks.impatient_in_queue.aio_run(Marked(mark=mark), wait_for_result=False)

        with pytest.raises(ValueError, match="was cancelled"):
            await sync_result(waiting)

        assert "SCHEDULING_TIMED_OUT" in await event_kinds(raw, waiting.workflow_run_id)
        assert lab.effects.read(mark) == []
    finally:
        lab.effects.open(f"{mark}-holder")
    await holder.aio_result()
