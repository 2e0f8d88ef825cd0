"""Runs and their results, the ways the SDK has of asking for them."""

import asyncio

import grpc
import pytest
from hatchet_sdk import EmptyModel, Hatchet
from hatchet_sdk.clients.admin import RunStatus
from hatchet_sdk.exceptions import FailedTaskRunExceptionGroup

from tests.conformance.workers.basic import BasicTasks
from tests.conformance.workers.models import Doubled, Flaky, Number, Text

MANY = 1000


@pytest.mark.timeout(120)
async def test_a_thousand_runs_of_an_async_task_give_the_right_results(tasks: BasicTasks) -> None:
    results = await asyncio.gather(*(tasks.double.aio_run(Number(value=n)) for n in range(MANY)))

    assert [result.value for result in results] == [2 * n for n in range(MANY)]


@pytest.mark.timeout(120)
async def test_a_thousand_runs_of_a_sync_task_give_the_right_results(tasks: BasicTasks) -> None:
    results = await asyncio.gather(*(tasks.double_in_thread.aio_run(Number(value=n)) for n in range(MANY)))

    assert [result.value for result in results] == [2 * n for n in range(MANY)]


@pytest.mark.timeout(120)
async def test_runs_in_bulk_come_back_in_order(tasks: BasicTasks) -> None:
    """1,500 are more than one request holds, so the SDK sends two."""
    count = 1500
    items = [tasks.double.create_bulk_run_item(Number(value=n)) for n in range(count)]

    runs = await tasks.double.aio_run_many(items, wait_for_result=False)
    results = await asyncio.gather(*(run.aio_result() for run in runs))

    assert len({run.workflow_run_id for run in runs}) == count
    assert [result.value for result in results] == [2 * n for n in range(count)]


async def test_a_bulk_of_large_inputs(tasks: BasicTasks) -> None:
    """Nine megabytes: the SDK cuts them into requests that just fit."""
    texts = [str(number) * 1_000_000 for number in range(9)]
    items = [tasks.echo.create_bulk_run_item(Text(text=text)) for text in texts]

    results = await tasks.echo.aio_run_many(items)

    assert [result.text for result in results] == texts


async def test_bulk_results_may_hold_exceptions(tasks: BasicTasks, mark: str) -> None:
    items = [tasks.flaky.create_bulk_run_item(Flaky(mark=mark, failures=failures)) for failures in (0, 9, 1, 9)]

    results = await tasks.flaky.aio_run_many(items, return_exceptions=True)

    assert [isinstance(result, FailedTaskRunExceptionGroup) for result in results] == [
        False,
        True,
        False,
        True,
    ]


def test_a_sync_caller_waits_for_the_result(tasks: BasicTasks) -> None:
    assert tasks.double.run(Number(value=21)).value == 42


def test_a_sync_caller_runs_many(tasks: BasicTasks) -> None:
    items = [tasks.double_in_thread.create_bulk_run_item(Number(value=n)) for n in range(50)]

    results = tasks.double_in_thread.run_many(items)

    assert [result.value for result in results] == [2 * n for n in range(50)]


def test_a_sync_caller_takes_a_reference_and_asks_later(tasks: BasicTasks) -> None:
    run = tasks.double.run(Number(value=4), wait_for_result=False)

    assert run.result().value == 8
    assert run.result().value == 8  # asking again is no offence


async def test_a_reference_gives_its_result_to_every_waiter(tasks: BasicTasks) -> None:
    run = await tasks.double.aio_run(Number(value=4), wait_for_result=False)

    first, second = await asyncio.gather(run.aio_result(), run.aio_result())

    assert first.value == second.value == 8


# The SDK's own `aio_get_result` uses a property that the SDK deprecates.
@pytest.mark.filterwarnings("ignore:The client property is internal:DeprecationWarning")
async def test_a_run_that_ended_before_still_tells_its_result(tasks: BasicTasks, hatchet: Hatchet) -> None:
    run = await tasks.double.aio_run(Number(value=4), wait_for_result=False)
    await run.aio_result()

    late = hatchet.runs.get_run_ref(run.workflow_run_id)

    assert (await late.aio_result())["double"]["value"] == 8
    assert await tasks.double.aio_get_result(run.workflow_run_id) == await run.aio_result()


async def test_details_of_a_completed_run(tasks: BasicTasks, hatchet: Hatchet) -> None:
    run = await tasks.double.aio_run(Number(value=5), wait_for_result=False, additional_metadata={"shelf": "upper"})
    await run.aio_result()

    details = await hatchet.runs.aio_get_details(run.workflow_run_id)

    assert details.status is RunStatus.COMPLETED
    assert details.done
    assert details.input == {"value": 5}
    assert details.additional_metadata == {"shelf": "upper"}
    task = details.task_runs["double"]
    assert task.external_id == run.workflow_run_id
    assert task.readable_id == "double"
    assert task.output is not None
    assert task.output["value"] == 10
    assert task.error is None
    assert task.status == "COMPLETED"
    assert not task.is_evicted


async def test_a_stub_runs_a_task_by_its_name(hatchet: Hatchet, tasks: BasicTasks) -> None:
    stub = hatchet.stubs.task(name="double", input_validator=Number, output_validator=Doubled)

    by_stub = await stub.aio_run(Number(value=7))

    assert by_stub.value == 14
    assert isinstance(by_stub, Doubled)


async def test_a_stub_of_a_workflow_gives_results_by_task_name(hatchet: Hatchet, tasks: BasicTasks) -> None:
    stub = hatchet.stubs.workflow(name="double", input_validator=Number)

    results = await stub.aio_run(Number(value=8))

    assert results["double"]["value"] == 16


async def test_a_name_nobody_registered_is_refused(hatchet: Hatchet) -> None:
    stub = hatchet.stubs.task(name="nobody-registered-this", input_validator=Number)

    with pytest.raises(grpc.RpcError) as refused:
        await stub.aio_run(Number(value=1))

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "nobody-registered-this" in (refused.value.details() or "")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("plain", id="plain"),
        pytest.param('quotes " and \\ backslashes \\u0041 \n\t', id="escapes"),
        pytest.param("snow ☃, emoji 🧵, combining é, right to left שלום", id="unicode"),
        pytest.param("0123456789" * 100_000, id="a megabyte"),
    ],
)
async def test_text_goes_there_and_back_unchanged(tasks: BasicTasks, text: str) -> None:
    assert (await tasks.echo.aio_run(Text(text=text))).text == text


async def test_a_task_that_returns_nothing(tasks: BasicTasks, hatchet: Hatchet) -> None:
    run = await tasks.says_nothing.aio_run(EmptyModel(), wait_for_result=False)
    await run.aio_result()

    details = await hatchet.runs.aio_get_details(run.workflow_run_id)

    assert details.status is RunStatus.COMPLETED
    assert not details.task_runs["says-nothing"].output
