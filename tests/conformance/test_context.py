"""What a task finds in its context, and what it can tell the engine about its worker."""

from hatchet_sdk import EmptyModel, Hatchet, Priority

from tests.conformance.harness import Lab, WorkerProcess
from tests.conformance.workers.basic import BasicTasks, declare
from tests.conformance.workers.models import Number


async def test_a_task_knows_its_run(tasks: BasicTasks) -> None:
    run = await tasks.look_around.aio_run(EmptyModel(), wait_for_result=False)

    seen = await run.aio_result()

    # A run of one task has the task's own id.
    assert seen.workflow_run_id == seen.task_run_id == run.workflow_run_id
    assert (seen.workflow_name, seen.task_name) == ("look-around", "look-around")
    assert seen.workflow_id
    assert seen.workflow_version_id
    assert seen.workflow_id != seen.workflow_version_id


async def test_two_runs_of_a_workflow_share_its_id_and_version(tasks: BasicTasks) -> None:
    first = await tasks.look_around.aio_run()
    second = await tasks.look_around.aio_run()

    assert first.workflow_id == second.workflow_id
    assert first.workflow_version_id == second.workflow_version_id
    assert first.workflow_run_id != second.workflow_run_id


async def test_metadata_of_the_call_beats_that_of_the_declaration(tasks: BasicTasks) -> None:
    metadata = {"from": "call", "nested": {"list": [1, 2.5, None, True]}, "text": "☃ \" \\ '"}

    seen = await tasks.look_around.aio_run(additional_metadata=metadata)

    assert seen.additional_metadata == {**metadata, "kept": "yes"}


async def test_a_run_without_metadata_has_an_empty_mapping(hatchet: Hatchet, tasks: BasicTasks) -> None:
    stub = hatchet.stubs.workflow(name="look-around")

    seen = (await stub.aio_run())["look-around"]

    assert seen["additional_metadata"] == {}


async def test_priority_reaches_the_task(tasks: BasicTasks) -> None:
    assert (await tasks.look_around.aio_run(priority=Priority.MEDIUM)).priority == Priority.MEDIUM


async def test_labels_set_by_a_task_are_accepted(tasks: BasicTasks) -> None:
    labels = await tasks.labels_itself.aio_run()

    assert labels == {"model": "large", "memory": 512}


async def test_the_engine_says_a_version_the_sdk_can_use(hatchet: Hatchet) -> None:
    version = await hatchet.aio_get_engine_version()

    assert version is not None
    numbers = version.removeprefix("v").split("-")[0].split(".")
    assert tuple(int(number) for number in numbers) >= (0, 111, 0)
    assert len(numbers) == 3


async def test_namespaces_keep_workers_apart(lab: Lab, worker: WorkerProcess, narrow_worker: WorkerProcess) -> None:
    """Both workers declare `double`; each gets only the runs of its own namespace."""
    assert worker.exit_code() is None
    assert narrow_worker.exit_code() is None

    wide = {(await declare(lab.hatchet()).double.aio_run(Number(value=n))).worker_id for n in range(5)}
    narrow = {(await declare(lab.hatchet("narrow")).double.aio_run(Number(value=n))).worker_id for n in range(5)}

    assert len(wide) == len(narrow) == 1
    assert wide != narrow
