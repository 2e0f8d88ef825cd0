"""What a task waits for, is skipped by, or is cancelled by: sleeps, events and outputs of parents, alone and together."""

from typing import Any

import pytest
from hatchet_sdk import Hatchet
from hatchet_sdk.clients.admin import RunStatus
from hatchet_sdk.clients.rest.models.v1_task_status import V1TaskStatus
from hatchet_sdk.runnables.workflow import Workflow
from hatchet_sdk.workflow_run import WorkflowRunRef

from tests.conformance.checks import status_becomes
from tests.conformance.harness import Lab
from tests.conformance.workers.flows import LIMIT, SOON, Flows, Given
from tests.support.eventually import eventually
from tests.wire_edge.raw import RawClient

SKIPPED = {"skipped": True}
COMPLETED, CANCELLED = V1TaskStatus.COMPLETED, V1TaskStatus.CANCELLED


async def begin_to_wait(workflow: Workflow[Given], raw: RawClient, mark: str) -> WorkflowRunRef:
    """A run of which a task waits now: an event before that would meet nobody."""
    run = await workflow.aio_run(Given(mark=mark), wait_for_result=False)

    async def waits() -> None:
        detail = await raw.call("/treadle.v1.Runs/Get", id=run.workflow_run_id)
        assert "WAITING" in {event.kind for event in detail.events}

    await eventually(waits)
    return run


def triggers(lab: Lab, mark: str, task: str = "second") -> dict[str, Any]:
    """What had met the conditions of a task, as its code saw it."""
    [effect] = lab.effects.read(mark, task)
    return {key: value for key, value in effect.facts["triggers"].items() if key != "filter_payload"}


# -- parents ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "gone", "value"), [(LIMIT + 1, "low", 2), (LIMIT, "high", 1)])
async def test_a_branch_is_skipped_by_what_its_parent_returned(
    flows: Flows, mark: str, number: int, gone: str, value: int
) -> None:
    result = await flows.branches.aio_run(Given(mark=mark, number=number))

    assert result[gone] == SKIPPED
    assert result["join"] == {"skipped": [gone], "value": value, "refused": f"{gone} was skipped"}


async def test_what_is_skipped_takes_along_what_has_no_other_parent(flows: Flows, lab: Lab, mark: str) -> None:
    """Unless that says itself what a skipped parent means to it."""
    result = await flows.wide_skip.aio_run(Given(mark=mark))

    assert {name for name, output in result.items() if output == SKIPPED} == {"gone", "follows"}
    assert {effect.event for effect in lab.effects.read(mark)} == {"start", "goes-its-way", "has-another"}


@pytest.mark.parametrize(("number", "cancelled"), [(LIMIT + 1, True), (LIMIT, False)])
async def test_a_task_is_cancelled_by_what_its_parent_returned(
    flows: Flows, hatchet: Hatchet, mark: str, number: int, cancelled: bool
) -> None:
    run = await flows.cancelled_by_parent.aio_run(Given(mark=mark, number=number), wait_for_result=False)
    result = await run.aio_result()

    assert set(result) == ({"first"} if cancelled else {"first", "second", "third"})
    details = await hatchet.runs.aio_get_details(run.workflow_run_id)
    assert details.status is (RunStatus.CANCELLED if cancelled else RunStatus.COMPLETED)
    expected = CANCELLED if cancelled else COMPLETED
    assert [details.task_runs[name].status for name in ("second", "third")] == [expected, expected]


# -- time ------------------------------------------------------------------------------------------------------------


async def test_a_task_sleeps_from_the_end_of_its_parents_on(flows: Flows, lab: Lab, mark: str) -> None:
    await flows.after_sleep.aio_run(Given(mark=mark))

    [first], [second] = lab.effects.read(mark, "first"), lab.effects.read(mark, "second")
    assert second.at - first.at >= SOON.total_seconds()
    assert triggers(lab, mark) == {"sleep:1s": {}}


async def test_a_task_is_cancelled_when_it_waits_too_long(flows: Flows, hatchet: Hatchet, lab: Lab, mark: str) -> None:
    run = await flows.cancelled_by_time.aio_run(Given(mark=mark), wait_for_result=False)

    await status_becomes(hatchet, run.workflow_run_id, RunStatus.CANCELLED)

    assert set(await run.aio_result()) == {"first"}
    assert [effect.event for effect in lab.effects.read(mark)] == ["first"]


# -- events ----------------------------------------------------------------------------------------------------------


async def test_a_task_waits_for_an_event_that_fits(
    flows: Flows, hatchet: Hatchet, raw: RawClient, lab: Lab, mark: str
) -> None:
    run = await begin_to_wait(flows.after_event, raw, mark)
    await hatchet.event.aio_push("approve", {"grade": 2, "by": "me"})
    await hatchet.event.aio_push("approve", {"by": "me"})
    await hatchet.event.aio_push("other", {"grade": 3, "by": "me"})
    assert lab.effects.read(mark, "second") == []

    await hatchet.event.aio_push("approve", {"grade": 3, "by": "you"})
    result = await run.aio_result()

    assert set(result) == {"first", "second", "third"}
    assert triggers(lab, mark) == {"approve": {"grade": 3, "by": "you"}}


async def test_events_of_the_past_count_where_they_are_asked_for(
    flows: Flows, hatchet: Hatchet, lab: Lab, mark: str
) -> None:
    await hatchet.event.aio_push("past", {"n": 0}, scope="other")
    await hatchet.event.aio_push("past", {"n": 1}, scope="mine")

    await flows.after_past_event.aio_run(Given(mark=mark))

    assert triggers(lab, mark)["past"]["n"] == 1


async def test_one_of_a_group_is_enough(flows: Flows, hatchet: Hatchet, raw: RawClient, lab: Lab, mark: str) -> None:
    """The other is a sleep of an hour."""
    run = await begin_to_wait(flows.after_either, raw, mark)
    await hatchet.event.aio_push("hurry", {"n": 1})

    await run.aio_result()

    assert triggers(lab, mark) == {"hurry": {"n": 1}}


async def test_all_groups_must_hold(flows: Flows, hatchet: Hatchet, raw: RawClient, lab: Lab, mark: str) -> None:
    run = await begin_to_wait(flows.after_both, raw, mark)
    await hatchet.event.aio_push("either", {"n": 1})

    async def the_sleep_is_over() -> None:
        detail = await raw.call("/treadle.v1.Runs/Get", id=run.workflow_run_id)
        assert [event.detail for event in detail.events if event.kind == "CONDITION_MET"] == ["either", "pause"]

    await eventually(the_sleep_is_over)
    assert lab.effects.read(mark, "second") == []

    await hatchet.event.aio_push("both", {"n": 2})
    await run.aio_result()

    assert triggers(lab, mark) == {"pause": {}, "both": {"n": 2}, "either": {"n": 1}}


async def test_an_event_skips_a_task_that_waits(
    flows: Flows, hatchet: Hatchet, raw: RawClient, lab: Lab, mark: str
) -> None:
    run = await begin_to_wait(flows.skipped_by_event, raw, mark)
    await hatchet.event.aio_push("skip", {})

    result = await run.aio_result()

    assert (result["second"], result["third"]) == (SKIPPED, SKIPPED)
    details = await hatchet.runs.aio_get_details(run.workflow_run_id)
    assert details.status is RunStatus.COMPLETED


async def test_an_event_cancels_a_task_that_waits(
    flows: Flows, hatchet: Hatchet, raw: RawClient, lab: Lab, mark: str
) -> None:
    run = await begin_to_wait(flows.cancelled_by_event, raw, mark)
    await hatchet.event.aio_push("abort", {})

    await status_becomes(hatchet, run.workflow_run_id, RunStatus.CANCELLED)

    details = await hatchet.runs.aio_get_details(run.workflow_run_id)
    assert [details.task_runs[name].status for name in ("second", "third")] == [CANCELLED, CANCELLED]


async def test_one_event_meets_every_run_that_waits(flows: Flows, hatchet: Hatchet, raw: RawClient, mark: str) -> None:
    runs = [await begin_to_wait(flows.after_either, raw, mark) for _ in range(5)]
    await hatchet.event.aio_push("hurry", {"n": 1})

    for run in runs:
        assert set(await run.aio_result()) == {"first", "second", "third"}


async def test_a_run_that_waits_is_cancelled_whole(
    flows: Flows, hatchet: Hatchet, raw: RawClient, lab: Lab, mark: str
) -> None:
    run = await begin_to_wait(flows.after_either, raw, mark)

    await hatchet.runs.aio_cancel(run.workflow_run_id)

    await status_becomes(hatchet, run.workflow_run_id, RunStatus.CANCELLED)
    await hatchet.event.aio_push("hurry", {"n": 1})
    assert [effect.event for effect in lab.effects.read(mark)] == ["first"]
