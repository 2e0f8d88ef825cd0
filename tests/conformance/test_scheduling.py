"""Who runs when there is one slot: priority, order of arrival, slots given back early."""

from typing import NamedTuple

from hatchet_sdk import Priority

from tests.conformance.checks import started
from tests.conformance.harness import Lab
from tests.conformance.workers.basic import BasicTasks
from tests.conformance.workers.models import Marked, Numbered


class Run(NamedTuple):
    number: int
    priority: Priority | None


async def test_priority_first_then_order_of_arrival(narrow_tasks: BasicTasks, lab: Lab, mark: str) -> None:
    low, middle, high = Priority.LOW, Priority.MEDIUM, Priority.HIGH
    wanted = [
        Run(number, priority)
        for number, priority in enumerate([low, None, high, middle, low, high, middle, high, None])
    ]
    holder = await narrow_tasks.patient.aio_run(Marked(mark=f"{mark}-holder"), wait_for_result=False)
    await started(lab, f"{mark}-holder")
    try:
        runs = [
            await narrow_tasks.numbered.aio_run(
                Numbered(mark=mark, number=run.number), wait_for_result=False, priority=run.priority
            )
            for run in wanted
        ]
    finally:
        lab.effects.open(f"{mark}-holder")
    await holder.aio_result()
    for run in runs:
        await run.aio_result()

    # The declared default is the lowest.
    expected = sorted(wanted, key=lambda run: (-(run.priority or low), run.number))
    ran = [(effect.facts["number"], effect.facts["priority"]) for effect in lab.effects.read(mark, "ran")]
    assert ran == [(run.number, int(run.priority or low)) for run in expected]


async def test_runs_in_bulk_keep_their_order_and_their_priority(narrow_tasks: BasicTasks, lab: Lab, mark: str) -> None:
    task = narrow_tasks.numbered
    holder = await narrow_tasks.patient.aio_run(Marked(mark=f"{mark}-holder"), wait_for_result=False)
    await started(lab, f"{mark}-holder")
    try:
        runs = await task.aio_run_many(
            [
                task.create_bulk_run_item(
                    Numbered(mark=mark, number=number),
                    priority=Priority.HIGH if number % 3 == 0 else Priority.LOW,
                )
                for number in range(12)
            ],
            wait_for_result=False,
        )
    finally:
        lab.effects.open(f"{mark}-holder")
    await holder.aio_result()
    for run in runs:
        await run.aio_result()

    ran = [effect.facts["number"] for effect in lab.effects.read(mark, "ran")]
    assert ran == [0, 3, 6, 9, 1, 2, 4, 5, 7, 8, 10, 11]


async def test_the_declared_priority_counts_when_the_caller_gives_none(tasks: BasicTasks, lab: Lab, mark: str) -> None:
    await tasks.numbered_high.aio_run(Numbered(mark=mark, number=1))
    await tasks.numbered_high.aio_run(Numbered(mark=mark, number=2), priority=Priority.MEDIUM)

    ran = [effect.facts["priority"] for effect in lab.effects.read(mark, "ran")]
    assert ran == [Priority.HIGH, Priority.MEDIUM]


async def test_a_released_slot_takes_the_next_task(narrow_tasks: BasicTasks, lab: Lab, mark: str) -> None:
    holder = await narrow_tasks.leaves_its_slot.aio_run(Marked(mark=mark), wait_for_result=False)
    await started(lab, mark)

    # The only slot: this can run only because the holder, still running, has left it.
    await narrow_tasks.numbered.aio_run(Numbered(mark=f"{mark}-next", number=1))

    lab.effects.open(mark)
    assert (await holder.aio_result()).retry_count == 0


async def test_a_slot_released_and_ended_counts_once(narrow_tasks: BasicTasks, lab: Lab, mark: str) -> None:
    """Ending after the release must not free the slot a second time: two patient tasks never overlap."""
    lab.effects.open(mark)
    await narrow_tasks.leaves_its_slot.aio_run(Marked(mark=mark))
    first = await narrow_tasks.patient.aio_run(Marked(mark=f"{mark}-first"), wait_for_result=False)
    await started(lab, f"{mark}-first")
    second = await narrow_tasks.patient.aio_run(Marked(mark=f"{mark}-second"), wait_for_result=False)
    third = await narrow_tasks.numbered.aio_run(Numbered(mark=f"{mark}-third", number=1), wait_for_result=False)
    for name in ("first", "second"):
        lab.effects.open(f"{mark}-{name}")
    for run in (first, second):
        await run.aio_result()
    await third.aio_result()

    (first_end,) = lab.effects.read(f"{mark}-first", "finished")
    (second_start,) = lab.effects.read(f"{mark}-second", "started")
    assert first_end.at < second_start.at
