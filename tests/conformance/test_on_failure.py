"""Tasks for the case of a failure, and for the case of success."""

import pytest
from hatchet_sdk import Hatchet
from hatchet_sdk.clients.admin import RunStatus
from hatchet_sdk.clients.rest.models.v1_task_status import V1TaskStatus
from hatchet_sdk.exceptions import FailedTaskRunExceptionGroup

from tests.conformance.checks import started, status_becomes, sync_result
from tests.conformance.harness import Lab
from tests.conformance.workers.flows import Flows, Given

ALWAYS = 99
MEND = "mend-on-failure"


async def test_the_failure_task_is_told_what_went_wrong(flows: Flows, hatchet: Hatchet, lab: Lab, mark: str) -> None:
    run = await flows.mended.aio_run(Given(mark=mark, failures=ALWAYS), wait_for_result=False)
    with pytest.raises(FailedTaskRunExceptionGroup) as failure:
        await run.aio_result()

    [problem] = failure.value.exceptions
    assert (problem.exc, problem.exc_type) == ("planned failure", "ValueError")
    [mended] = lab.effects.read(mark, "mend")
    assert set(mended.facts["errors"]) == {"shaky"}
    assert mended.facts["errors"]["shaky"].startswith("ValueError: planned failure")
    assert "planned failure" in mended.facts["of"]
    details = await hatchet.runs.aio_get_details(run.workflow_run_id)
    assert (details.status, details.done) == (RunStatus.FAILED, True)
    assert {name: task.status for name, task in details.task_runs.items()} == {
        "fine": V1TaskStatus.COMPLETED,
        "shaky": V1TaskStatus.FAILED,
        "last": V1TaskStatus.CANCELLED,
        MEND: V1TaskStatus.COMPLETED,
    }
    assert details.task_runs[MEND].output == {"failed": ["shaky"]}


async def test_it_waits_for_the_last_retry(flows: Flows, lab: Lab, mark: str) -> None:
    """The task has one retry, and succeeds with that."""
    result = await flows.mended.aio_run(Given(mark=mark, failures=1))

    assert result["last"] == {"value": 3}
    assert MEND not in result
    assert lab.effects.read(mark, "mend") == []
    assert [effect.facts["retry_count"] for effect in lab.effects.read(mark, "shaky")] == [0, 1]


async def test_a_sync_caller_gets_the_error_too(flows: Flows, mark: str) -> None:
    run = await flows.mended.aio_run(Given(mark=mark, failures=ALWAYS), wait_for_result=False)

    with pytest.raises(FailedTaskRunExceptionGroup, match="failed"):
        await sync_result(run)


async def test_a_cancelled_run_is_no_failure(flows: Flows, hatchet: Hatchet, lab: Lab, mark: str) -> None:
    run = await flows.flow_of_patience.aio_run(Given(mark=mark), wait_for_result=False)
    await started(lab, mark)
    await hatchet.runs.aio_cancel(run.workflow_run_id)

    await status_becomes(hatchet, run.workflow_run_id, RunStatus.CANCELLED)

    assert await run.aio_result() == {}
    details = await hatchet.runs.aio_get_details(run.workflow_run_id)
    assert set(details.task_runs) == {"patient", "after"}
    assert lab.effects.read(mark, MEND) == []


async def test_the_success_task_comes_last(flows: Flows, lab: Lab, mark: str) -> None:
    result = await flows.celebrated.aio_run(Given(mark=mark))

    assert set(result) == {"one", "other", "party-on-success"}
    assert [effect.event for effect in lab.effects.read(mark)] == ["other", "party-on-success"]


async def test_after_a_failure_there_is_no_success_task(flows: Flows, hatchet: Hatchet, lab: Lab, mark: str) -> None:
    run = await flows.celebrated.aio_run(Given(mark=mark, failures=1), wait_for_result=False)

    await status_becomes(hatchet, run.workflow_run_id, RunStatus.FAILED)

    details = await hatchet.runs.aio_get_details(run.workflow_run_id)
    assert details.task_runs["party-on-success"].status is V1TaskStatus.CANCELLED
    assert lab.effects.read(mark, "party-on-success") == []
