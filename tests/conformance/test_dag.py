"""Workflows of several tasks: order, outputs of parents, and results the ways the SDK has of asking for them."""

import asyncio

import pytest
from hatchet_sdk import Hatchet
from hatchet_sdk.clients.admin import RunStatus
from hatchet_sdk.clients.rest.models.v1_task_status import V1TaskStatus

from tests.conformance.harness import Lab
from tests.conformance.workers.flows import Flows, Given
from treadle.model.ids import step_id

MANY = 200


async def test_a_diamond_joins_what_its_branches_returned(flows: Flows, lab: Lab, mark: str) -> None:
    result = await flows.diamond.aio_run(Given(mark=mark, number=4))

    assert {name: result[name] for name in ("start", "left", "right")} == {
        "start": {"value": 4},
        "left": {"value": 5},
        "right": {"value": 40},
    }
    assert (result["join"]["sum"], result["join"]["input"]) == (45, 4)
    order = [effect.event for effect in lab.effects.read(mark)]
    assert (order[0], set(order[1:3]), order[3]) == ("start", {"left", "right"}, "join")


def test_a_sync_caller_gets_the_same_dict(flows: Flows, mark: str) -> None:
    result = flows.diamond.run(Given(mark=mark, number=4))

    assert set(result) == {"start", "left", "right", "join"}
    assert result["join"]["sum"] == 45


async def test_a_task_knows_its_run(flows: Flows, mark: str) -> None:
    run = await flows.diamond.aio_run(
        Given(mark=mark), wait_for_result=False, additional_metadata={"colour": "blue"}, priority=3
    )
    seen = (await run.aio_result())["join"]["seen"]

    assert seen["workflow_run_id"] == run.workflow_run_id
    assert seen["task_run_id"] == step_id(run.workflow_run_id, 3)
    assert (seen["task_name"], seen["priority"]) == ("join", 3)
    assert seen["additional_metadata"]["colour"] == "blue"
    assert not seen["parent_workflow_run_id"]


async def test_details_while_it_runs_and_at_the_end(flows: Flows, hatchet: Hatchet, mark: str) -> None:
    run = await flows.diamond.aio_run(Given(mark=mark, number=2), wait_for_result=False)
    await run.aio_result()

    details = await hatchet.runs.aio_get_details(run.workflow_run_id)

    assert (details.status, details.done) == (RunStatus.COMPLETED, True)
    assert details.input == {"mark": mark, "number": 2, "failures": 0}
    assert {name: task.status for name, task in details.task_runs.items()} == dict.fromkeys(
        ("start", "left", "right", "join"), V1TaskStatus.COMPLETED
    )
    assert details.task_runs["right"].output is not None
    assert details.task_runs["right"].output["value"] == 20
    assert {name: task.external_id for name, task in details.task_runs.items()} == {
        name: step_id(run.workflow_run_id, step) for step, name in enumerate(("start", "left", "right", "join"))
    }


@pytest.mark.timeout(120)
async def test_many_at_a_time(flows: Flows, mark: str) -> None:
    items = [flows.diamond.create_bulk_run_item(Given(mark=mark, number=n)) for n in range(MANY)]

    results = await asyncio.gather(
        *(run.aio_result() for run in await flows.diamond.aio_run_many(items, wait_for_result=False))
    )

    assert [result["join"]["sum"] for result in results] == [n + 1 + n * 10 for n in range(MANY)]


async def test_the_runs_client(flows: Flows, hatchet: Hatchet, mark: str) -> None:
    run = await flows.diamond.aio_run(
        Given(mark=mark, number=2), wait_for_result=False, additional_metadata={"only": mark}
    )
    await run.aio_result()
    ids = {name: step_id(run.workflow_run_id, step) for step, name in enumerate(("start", "left", "right", "join"))}

    details = await hatchet.runs.aio_get(run.workflow_run_id)
    status = await hatchet.runs.aio_get_status(run.workflow_run_id)
    result = await hatchet.runs.aio_get_result(run.workflow_run_id)
    task = await hatchet.runs.aio_get_task_run(ids["left"])
    runs = await hatchet.runs.aio_list(additional_metadata={"only": mark})
    tasks = await hatchet.runs.aio_list(additional_metadata={"only": mark}, only_tasks=True)
    paged = await hatchet.runs.aio_list_with_pagination(additional_metadata={"only": mark}, only_tasks=True)

    assert (details.run.status, status) == (V1TaskStatus.COMPLETED, V1TaskStatus.COMPLETED)
    assert {each.task_external_id for each in details.tasks} == set(ids.values())
    assert result["join"]["sum"] == 23
    assert (task.task_external_id, task.output) == (ids["left"], {"value": 3})
    assert [row.metadata.id for row in runs.rows] == [run.workflow_run_id]
    assert {row.task_external_id for row in tasks.rows} == set(ids.values())
    assert {row.task_external_id for row in paged} == set(ids.values())


async def test_a_run_created_by_name(flows: Flows, hatchet: Hatchet, mark: str) -> None:
    created = await hatchet.runs.aio_create("Diamond", {"mark": mark, "number": 3}, {"k": "v"})

    result = await hatchet.runs.get_run_ref(created.run.metadata.id).aio_result()

    assert result["join"]["sum"] == 34
