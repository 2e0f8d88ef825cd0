"""Events of a run as they happen: its states, and the chunks its code sends."""

import asyncio
from collections.abc import AsyncIterable

from hatchet_sdk import Hatchet
from hatchet_sdk.clients.admin import RunStatus
from hatchet_sdk.clients.listeners.run_event_listener import StepRunEvent, StepRunEventType

from tests.conformance.checks import status_becomes
from tests.conformance.harness import Lab
from tests.conformance.workers.basic import BasicTasks
from tests.conformance.workers.models import Marked, Number, Text
from tests.support.eventually import eventually
from tests.wire_edge.raw import RawClient

STREAM_SECONDS = 20


async def all_of(events: AsyncIterable[StepRunEvent]) -> list[StepRunEvent]:
    """Everything until the engine hangs up."""
    async with asyncio.timeout(STREAM_SECONDS):
        return [event async for event in events]


def names(events: list[StepRunEvent]) -> list[str]:
    """What happened, without the chunks."""
    kinds = [event.type.value.removeprefix("STEP_RUN_EVENT_TYPE_") for event in events]
    return [kind for kind in kinds if kind != "STREAM"]


async def test_chunks_arrive_in_order_and_then_the_stream_ends(
    tasks: BasicTasks, hatchet: Hatchet, lab: Lab, mark: str
) -> None:
    run = await tasks.streams.aio_run(Marked(mark=mark), wait_for_result=False)
    chunks: list[str] = []

    async with asyncio.timeout(STREAM_SECONDS):
        async for chunk in hatchet.runs.subscribe_to_stream(run.workflow_run_id):
            chunks.append(chunk)
            if len(chunks) == 5:
                lab.effects.open(mark)  # it looks after each chunk, this one too, and sends four more

    (sent,) = lab.effects.read(mark, "sent")
    last = sent.facts["chunks"]
    assert len(chunks) >= 9
    assert chunks == [f"chunk {number}" for number in range(last - len(chunks), last)]


async def test_the_end_of_a_run_is_an_event(tasks: BasicTasks, hatchet: Hatchet, lab: Lab, mark: str) -> None:
    """First the task ends, then the run, then the stream."""
    run = await tasks.streams.aio_run(Marked(mark=mark), wait_for_result=False)
    seen: list[StepRunEvent] = []

    async with asyncio.timeout(STREAM_SECONDS):
        async for event in hatchet.listener.stream(run.workflow_run_id):
            seen.append(event)
            lab.effects.open(mark)

    assert names(seen)[-2:] == ["COMPLETED", "COMPLETED"]
    assert seen[-3].type is StepRunEventType.STEP_RUN_EVENT_TYPE_STREAM


async def test_every_subscriber_gets_the_chunks(tasks: BasicTasks, hatchet: Hatchet, lab: Lab, mark: str) -> None:
    run = await tasks.streams.aio_run(Marked(mark=mark), wait_for_result=False)
    arrived = [asyncio.Event(), asyncio.Event()]

    async def listen(number: int) -> list[str]:
        chunks = []
        async for chunk in hatchet.runs.subscribe_to_stream(run.workflow_run_id):
            chunks.append(chunk)
            arrived[number].set()
        return chunks

    async with asyncio.timeout(STREAM_SECONDS):
        listeners = [asyncio.create_task(listen(number)) for number in range(2)]
        for event in arrived:
            await event.wait()
        lab.effects.open(mark)
        first, second = [await listener for listener in listeners]

    assert first[-5:] == second[-5:]
    assert len(first[-5:]) == 5


async def test_a_cancelled_run_ends_its_stream(tasks: BasicTasks, hatchet: Hatchet, raw: RawClient, mark: str) -> None:
    run = await tasks.streams.aio_run(Marked(mark=mark), wait_for_result=False)
    seen: list[StepRunEvent] = []

    async with asyncio.timeout(STREAM_SECONDS):
        async for event in hatchet.listener.stream(run.workflow_run_id):
            if not seen:
                await raw.call("/v1.AdminService/CancelTasks", external_ids=[run.workflow_run_id])
            seen.append(event)

    assert names(seen)[-2:] == ["CANCELLED", "CANCELLED"]


async def test_a_run_that_has_ended_closes_its_stream_at_once(tasks: BasicTasks, hatchet: Hatchet, mark: str) -> None:
    fine = await tasks.double.aio_run(Number(value=1), wait_for_result=False)
    await fine.aio_result()
    failed = await tasks.hopeless.aio_run(Marked(mark=mark), wait_for_result=False)
    await status_becomes(hatchet, failed.workflow_run_id, RunStatus.FAILED)

    assert names(await all_of(hatchet.listener.stream(fine.workflow_run_id)))[-1:] == ["COMPLETED"]
    assert names(await all_of(hatchet.listener.stream(failed.workflow_run_id)))[-1:] == ["FAILED"]


async def test_a_reader_that_leaves_disturbs_nobody(tasks: BasicTasks, hatchet: Hatchet, lab: Lab, mark: str) -> None:
    run = await tasks.streams.aio_run(Marked(mark=mark), wait_for_result=False)
    leaving = aiter(hatchet.runs.subscribe_to_stream(run.workflow_run_id))
    async with asyncio.timeout(STREAM_SECONDS):
        await anext(leaving)
    del leaving
    staying = asyncio.create_task(all_of(hatchet.listener.stream(run.workflow_run_id)))

    lab.effects.open(mark)

    await run.aio_result()
    assert names(await staying)[-1] == "COMPLETED"


async def test_log_lines_are_kept_with_the_run(tasks: BasicTasks, raw: RawClient, mark: str) -> None:
    run = await tasks.talks.aio_run(Text(text=f"about {mark}: ☃"), wait_for_result=False)
    await run.aio_result()

    async def all_lines() -> list[tuple[int, str, str]]:
        detail = await raw.call("/treadle.v1.Runs/Get", id=run.workflow_run_id)
        lines = [(line.attempt, line.level, line.message) for line in detail.logs]
        assert len(lines) == 3  # the SDK sends them from a thread of its own, maybe after the result
        return lines

    lines: list[tuple[int, str, str]] = await eventually(all_lines)
    assert lines == [
        (1, "INFO", f"about {mark}: ☃"),
        (1, "INFO", '{"as": "json", "attempt": 0}'),
        (1, "INFO", "last line"),
    ]
