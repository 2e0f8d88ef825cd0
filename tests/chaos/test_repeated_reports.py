"""The same reports twice, in another order, or not at all: the outcome is the same."""

from itertools import permutations

import asyncpg
import pytest

from tests.chaos.fingerprint import fingerprint
from tests.chaos.raw import RawClient, RawWorker
from tests.chaos.reports import FrameMaker, completed, heartbeat, received, retried, started, stopped
from treadle.model.states import RunStatus


async def test_duplicated_reports_count_once(
    client: RawClient, connection: asyncpg.Connection, task: tuple[str, str]
) -> None:
    """Every report sent three times, in one frame and in several: one result, one event of each kind."""
    name, action = task
    async with RawWorker(client, actions=[action]) as worker:
        (task_id,) = await client.start(name, "{}")
        await worker.receive(task_id)
        for report in (received, started, completed):
            frame = report(task_id, 1)
            frame.MergeFrom(report(task_id, 1))
            await worker.send(frame)
            await worker.send(report(task_id, 1))
        await worker.barrier()
    rows = await fingerprint(connection, task_id)
    assert len(rows["task_result"]) == 1
    assert not rows["attempt"]
    events = await connection.fetch(
        "SELECT kind, count(*) FROM treadle.event_log WHERE task_ids @> ARRAY[$1::uuid] GROUP BY kind", task_id
    )
    assert all(row["count"] == 1 for row in events), events


async def test_a_duplicated_failure_spends_one_retry(
    client: RawClient, connection: asyncpg.Connection, task: tuple[str, str]
) -> None:
    """The second copy is about an attempt that is superseded already."""
    name, action = task
    async with RawWorker(client, actions=[action]) as worker:
        (task_id,) = await client.start(name, "{}")
        await worker.receive(task_id)
        frame = retried(task_id, 1)
        frame.MergeFrom(retried(task_id, 1))
        await worker.send(frame)
        await worker.send(retried(task_id, 1))
        delivery = await worker.receive(task_id, attempt=2)
        assert delivery.retries_used == 1
        await worker.complete(task_id, 2)
        await worker.settled(task_id, 2)
    row = await connection.fetchrow(
        "SELECT attempt, retries_used FROM treadle.task_result WHERE id = $1::uuid", task_id
    )
    assert row is not None
    assert tuple(row) == (2, 1)


@pytest.mark.parametrize(
    "order",
    list(permutations([received, started, heartbeat, completed])),
    ids=lambda order: "-".join(maker.__name__ for maker in order),
)
async def test_reports_in_any_order_end_alike(
    client: RawClient,
    connection: asyncpg.Connection,
    task: tuple[str, str],
    order: tuple[FrameMaker, ...],
) -> None:
    """The result may overtake the start; a heartbeat may still name what has ended."""
    name, action = task
    async with RawWorker(client, actions=[action]) as worker:
        (task_id,) = await client.start(name, "{}")
        await worker.delivered(task_id)
        for report in order:
            await worker.send(report(task_id, 1))
        await worker.barrier()
    rows = await fingerprint(connection, task_id)
    assert (len(rows["task_result"]), rows["attempt"], rows["queue_item"]) == (1, [], [])
    assert await client.ended(task_id) == (RunStatus.COMPLETED, b'{"by": "a liar"}')


async def test_a_result_after_an_accepted_cancel_is_stale(
    client: RawClient, connection: asyncpg.Connection, task: tuple[str, str]
) -> None:
    """Cancelling is answered once it is durable: a result that comes later loses, and the slot comes back."""
    name, action = task
    async with RawWorker(client, actions=[action], slots=1) as worker:
        task_id, following = await client.start(name, "{}", "{}")
        await worker.receive(task_id)
        changed = await client.cancel(task_id)
        assert list(changed.ids) == [task_id]
        before = await fingerprint(connection, task_id)
        await worker.cancelled(task_id, 1)
        await worker.complete(task_id, 1)
        await worker.settled(task_id, 1)
        assert await fingerprint(connection, task_id) == before
        # The code has ended: its slot is free for the next one.
        await worker.send(stopped(task_id, 1))
        await worker.receive(following)
        await worker.complete(following, 1)
        await worker.settled(following, 1)
    assert (await client.ended(task_id))[0] is RunStatus.CANCELLED


async def test_an_unacknowledged_delivery_comes_again(client: RawClient, task: tuple[str, str]) -> None:
    """A stream that breaks before the acknowledgement costs neither the run nor a retry."""
    name, action = task
    worker = RawWorker(client, actions=[action])
    async with worker:
        (task_id,) = await client.start(name, "{}")
        await worker.delivered(task_id)
        await worker.vanish()
        await worker.connect()
        delivery = await worker.receive(task_id)
        assert delivery.retries_used == 0
        await worker.complete(task_id, delivery.attempt)
        await worker.settled(task_id, delivery.attempt)
    assert (await client.ended(task_id))[0] is RunStatus.COMPLETED
