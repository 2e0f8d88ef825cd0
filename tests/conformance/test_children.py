"""Runs started inside a task: their link to the parent, and what a retry of the parent finds."""

from typing import Any

import pytest
from hatchet_sdk import Hatchet

from tests.conformance.harness import Lab
from tests.conformance.workers.basic import BasicTasks
from tests.conformance.workers.flows import Flock, Flows, Given
from tests.conformance.workers.models import Child, Family
from treadle.model.ids import step_id

MANY = 1100


async def seen_by_child(hatchet: Hatchet, run_id: str) -> dict[str, Any]:
    details = await hatchet.runs.aio_get_details(run_id)
    output = details.task_runs["square"].output
    assert output is not None
    seen = output["seen"]
    assert isinstance(seen, dict)
    return seen


async def test_children_know_their_parent(tasks: BasicTasks, hatchet: Hatchet, mark: str) -> None:
    report = await tasks.parent.aio_run(Family(mark=mark, children=3), additional_metadata={"colour": "blue"})

    assert report.squares == [0, 1, 4]
    for number, run_id in enumerate(report.child_runs):
        seen = await seen_by_child(hatchet, run_id)
        assert seen["parent_workflow_run_id"] == report.run_id
        assert seen["child_index"] == number
        metadata = seen["additional_metadata"]
        assert metadata["colour"] == "blue"
        assert metadata["hatchet__parent_workflow_run_id"] == report.run_id
        assert metadata["hatchet__parent_step_run_id"] == report.run_id


async def test_children_may_carry_a_key(tasks: BasicTasks, hatchet: Hatchet, mark: str) -> None:
    report = await tasks.parent.aio_run(Family(mark=mark, children=2, with_keys=True))

    keys = [(await seen_by_child(hatchet, run_id))["child_key"] for run_id in report.child_runs]
    assert keys == ["child-0", "child-1"]


async def test_a_run_from_outside_has_no_parent(tasks: BasicTasks, mark: str) -> None:
    seen = (await tasks.square.aio_run(Child(mark=mark, number=3))).seen

    assert not seen["parent_workflow_run_id"]
    assert not [key for key in seen["additional_metadata"] if key.startswith("hatchet__parent")]


@pytest.mark.parametrize("with_keys", [False, True], ids=["by index", "by key"])
async def test_a_retried_parent_finds_its_children_again(
    tasks: BasicTasks, lab: Lab, mark: str, *, with_keys: bool
) -> None:
    """With keys the order of the calls does not matter, so the second attempt makes them backwards."""
    family = Family(mark=mark, children=3, with_keys=with_keys, backwards_on_retry=with_keys, fail_once=True)

    await tasks.parent.aio_run(family)

    first, second = (effect.facts for effect in lab.effects.read(mark, "family"))
    assert (first["retry_count"], second["retry_count"]) == (0, 1)
    assert first["runs"] == second["runs"]
    assert len(set(first["runs"])) == 3
    assert sorted(effect.facts["number"] for effect in lab.effects.read(mark, "child")) == [0, 1, 2]


async def test_two_parents_have_two_families(tasks: BasicTasks, mark: str) -> None:
    family = Family(mark=mark, children=2, with_keys=True)

    one = await tasks.parent.aio_run(family)
    other = await tasks.parent.aio_run(family)

    assert set(one.child_runs).isdisjoint(other.child_runs)


# -- many, and of several tasks --------------------------------------------------------------------------------------


@pytest.mark.timeout(180)
@pytest.mark.parametrize("with_keys", [False, True], ids=["by index", "by key"])
async def test_more_children_than_one_request_holds(flows: Flows, lab: Lab, mark: str, *, with_keys: bool) -> None:
    """And all of them are there when the parent is tried again."""
    result = await flows.flock.aio_run(Flock(mark=mark, children=MANY, with_keys=with_keys, fail_once=True))

    assert result["values"] == list(range(MANY))
    first, second = (effect.facts for effect in lab.effects.read(mark, "family"))
    assert (first["retry_count"], second["retry_count"]) == (0, 1)
    assert first["runs"] == second["runs"] == result["runs"]
    assert len(lab.effects.read(mark, "little-one")) == len(set(result["runs"])) == MANY


async def test_a_workflow_of_several_tasks_is_a_child(flows: Flows, hatchet: Hatchet, mark: str) -> None:
    result = await flows.spawns_a_flow.aio_run(Given(mark=mark, number=4))

    details = await hatchet.runs.aio_get_details(result["run"])
    assert result["sum"] == 45
    assert set(details.task_runs) == {"start", "left", "right", "join"}
    assert details.additional_metadata is not None
    assert "hatchet__parent_step_run_id" in details.additional_metadata


async def test_a_retried_parent_finds_its_workflow_run_again(flows: Flows, lab: Lab, mark: str) -> None:
    await flows.spawns_a_flow.aio_run(Given(mark=mark, number=4, failures=1))

    first, second = (effect.facts for effect in lab.effects.read(mark, "family"))
    assert (first["retry_count"], second["retry_count"]) == (0, 1)
    assert first["runs"] == second["runs"]
    assert [effect.event for effect in lab.effects.read(mark) if effect.event != "family"].count("join") == 1


async def test_tasks_of_a_workflow_run_have_children(flows: Flows, mark: str) -> None:
    run = await flows.flow_that_spawns.aio_run(Given(mark=mark, number=7), wait_for_result=False)
    result = await run.aio_result()

    parent = result["parent"]
    assert (parent["workflow_run_id"], parent["task_run_id"]) == (run.workflow_run_id, step_id(run.workflow_run_id, 0))
    assert result["in_thread"]["value"] == 7
    metadata = parent["seen"]["additional_metadata"]
    assert metadata["hatchet__parent_step_run_id"] == parent["task_run_id"]
    assert metadata["hatchet__parent_workflow_run_id"] == run.workflow_run_id
