"""The group-commit loop on a real database: one commit for many, one bad item alone, and nothing lost on the way."""

import asyncio
from collections.abc import AsyncIterator, Sized
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tests.engine.fakes import FakeWorker
from tests.engine.harness import Engine, completed, failed
from tests.support.eventually import eventually
from treadle.engine.attempt import Attempt
from treadle.engine.catalog import TaskKind
from treadle.engine.commands import Trigger
from treadle.model.errors import Exhausted, Unavailable
from treadle.model.ids import id_at
from treadle.model.states import RunStatus
from treadle.scheduler.ledger import ASSIGN_AT_ONCE
from treadle.storage.database import Conn

KILL = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'treadle scheduler' AND datname = current_database()
"""


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[None]:
    """The loop runs by itself, as in a real engine."""
    task = asyncio.create_task(engine.loop.run())
    try:
        yield
    finally:
        engine.loop.stop()
        await asyncio.wait_for(task, 20)


def poison(engine: Engine, kind: TaskKind) -> Attempt:
    """A run that the tables refuse: a child of a parent so far ahead that no partition is there for it."""
    far_away = id_at(engine.clock.now() + 400 * 86_400)
    return engine.task(kind, parent_id=far_away, child_key="x")


async def test_everything_that_waits_goes_into_one_commit(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, slots=5)
    [old] = await engine.start(kind)
    triggers = [engine.ask_trigger([engine.task(kind)]) for _ in range(100)]
    report = engine.ask_report(worker, completed=completed([(old, 1)]))
    await engine.commit_once()
    ids = [(await future)[0] for future in triggers]
    assert (await report).settled == [(old, 1)]
    assert len(worker.got) == 6
    writers = await engine.value("SELECT count(DISTINCT xmin::text) FROM treadle.task WHERE id = ANY ($1::uuid[])", ids)
    assert writers == 1
    assert await engine.value("SELECT xmin::text FROM treadle.task_result") == await engine.value(
        "SELECT xmin::text FROM treadle.task WHERE id = $1::uuid", ids[0]
    )


async def test_nobody_is_answered_and_nothing_delivered_before_the_commit(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    async with engine.database.transaction() as conn:
        await conn.execute("LOCK TABLE treadle.event_log IN EXCLUSIVE MODE")
        async with asyncio.TaskGroup() as group:
            future = engine.ask_trigger([engine.task(kind)])
            turn = group.create_task(engine.commit_once())

            async def blocked() -> None:
                waiting = await engine.value("SELECT count(*) FROM pg_locks WHERE NOT granted")
                assert waiting > 0

            await eventually(blocked)
            assert not future.done()
            assert worker.got == []
            await conn.execute("ROLLBACK")
            await turn
            await conn.execute("BEGIN")
    assert worker.keys == [((await future)[0], 1)]


async def test_the_loop_sleeps_until_asked_and_until_due(engine: Engine) -> None:
    kind = await engine.workflow(timeout_ms=5000)
    async with running(engine):
        worker = FakeWorker("01890000-0000-7000-8000-000000000001", 1, [kind], {"default": 1})
        engine.connect(worker, in_hand=set())
        [task_id] = await engine.ask_trigger([engine.task(kind)])
        assert isinstance(task_id, str)
        await eventually(lambda: assert_equal(worker.keys, [(task_id, 1)]))
        engine.clock.advance(5)
        engine.inbox.wake()
        await eventually(lambda: assert_equal(len(worker.stops), 1))
    assert await engine.status(task_id) is RunStatus.FAILED


def assert_equal(found: object, wanted: object) -> None:
    assert found == wanted


async def more_than(count: int, items: Sized) -> None:
    await eventually(lambda: assert_equal(len(items) > count, True))


async def test_more_than_one_commit_gives_out_is_given_without_being_asked_again(engine: Engine) -> None:
    kind = await engine.workflow()
    count = ASSIGN_AT_ONCE + 500
    for start in range(0, count, 500):
        await engine.start(kind, min(500, count - start))
    async with running(engine):
        worker = FakeWorker("01890000-0000-7000-8000-000000000001", 1, [kind], {"default": count})
        engine.connect(worker, in_hand=set())
        await eventually(lambda: assert_equal(len(worker.got), count))
    assert len(set(worker.keys)) == count


async def test_a_bad_trigger_fails_alone_among_good_commands(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, slots=3)
    [old] = await engine.start(kind)
    good = engine.ask_trigger([engine.task(kind)])
    bad = engine.ask_trigger([poison(engine, kind)])
    report = engine.ask_report(worker, completed=completed([(old, 1)]))
    other = engine.ask_trigger([engine.task(kind)])
    await engine.settle()
    assert isinstance((await bad)[0], Unavailable)
    assert (await report).settled == [(old, 1)]
    ids = [(await good)[0], (await other)[0]]
    assert await engine.status(old) is RunStatus.COMPLETED
    assert worker.keys == [(old, 1), (ids[0], 1), (ids[1], 1)]


async def test_a_commit_that_fails_sends_no_running_attempt_twice(engine: Engine) -> None:
    kind = await engine.workflow(retries=1, timeout_ms=1000)
    worker = await engine.worker(kind, slots=10)
    ended, retried, overrun, running_on = await engine.start(kind, 4)
    for parts in ({"completed": completed([(ended, 1)])}, {"failed": failed([(retried, 1)])}):
        engine.ask_report(worker, **parts)
    engine.ask_trigger([poison(engine, kind)])
    await engine.settle()
    assert sorted(worker.keys) == sorted([(ended, 1), (retried, 1), (overrun, 1), (running_on, 1), (retried, 2)])
    engine.clock.advance(1)
    engine.ask_trigger([poison(engine, kind)])
    await engine.settle()
    assert len(set(worker.keys)) == len(worker.keys)


async def test_a_commit_that_fails_while_a_worker_joins_sends_its_work_once(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, slots=3)
    lacking, held = await engine.start(kind, 2)
    again = FakeWorker(worker.worker_id, 1, [kind], {"default": 3})
    engine.connect(again, in_hand={(held, 1)})
    engine.ask_trigger([poison(engine, kind)])
    await engine.settle()
    engine.ask_trigger([poison(engine, kind)])
    await engine.settle()
    assert again.keys == [(lacking, 1)]
    await engine.start(kind, 5)
    assert len(again.keys) == 2


@pytest.mark.parametrize("says", [True, False])
async def test_a_reload_after_a_restart_sends_nothing_twice(engine: Engine, says: bool) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, slots=2, says_when_stopped=says)
    [task_id] = await engine.start(kind)
    await engine.restart()
    again = await engine.worker(
        kind, slots=2, worker_id=worker.worker_id, in_hand={(task_id, 1)}, says_when_stopped=says
    )
    engine.ask_trigger([poison(engine, kind)])
    await engine.settle()
    assert again.keys == []


async def test_slots_that_came_free_just_before_a_worker_joined_again_count_once(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    ids = await engine.start(kind, 4)
    await engine.disconnect(worker)
    engine.ask_report(worker, completed=completed([(ids[0], 1)]))
    again = FakeWorker(worker.worker_id, 1, [kind], {"default": 1})
    engine.connect(again, in_hand=set())
    await engine.commit_once()
    await engine.settle()
    assert again.keys == [(ids[1], 1)]


async def test_an_answer_that_cannot_be_given_harms_nobody(engine: Engine) -> None:
    kind = await engine.workflow()

    def explode(_: object) -> None:
        raise ValueError("the caller is gone")

    engine.inbox.put(Trigger([engine.task(kind)], explode))
    good = engine.ask_trigger([engine.task(kind)])
    await engine.settle()
    assert isinstance((await good)[0], str)
    assert await engine.count("task") == 2


async def test_a_full_inbox_refuses_triggers_and_takes_control(engine: Engine) -> None:
    kind = await engine.workflow()
    engine.inbox._bound = 10
    engine.ask_trigger([engine.task(kind) for _ in range(10)])
    with pytest.raises(Exhausted):
        engine.ask_trigger([engine.task(kind)])
    worker = await engine.worker(kind, slots=20)
    assert len(worker.got) == 10
    engine.ask_trigger([engine.task(kind)])
    await engine.settle()


async def test_a_stopping_loop_finishes_what_was_asked_and_refuses_the_rest(engine: Engine) -> None:
    kind = await engine.workflow()
    asked = [engine.ask_trigger([engine.task(kind)]) for _ in range(5)]
    async with running(engine):
        engine.loop.stop()
        with pytest.raises(Unavailable):
            engine.ask_trigger([engine.task(kind)])
    assert await engine.count("task") == 5
    assert [future.done() for future in asked] == [True] * 5


async def kill_connection(engine: Engine) -> None:
    await engine.fetch(KILL)


class FailingCommit:
    """Makes the loop lose its connection at the commit itself: before it took effect, or after."""

    def __init__(self, engine: Engine, *, after: bool) -> None:
        self._engine = engine
        self._after = after
        self.done = False

    def install(self) -> None:
        ledger = self._engine.loop._ledger
        original = ledger._write

        async def write(batch: object, chosen: object, queued: object, conn: Conn) -> None:
            await original(batch, chosen, queued, conn)  # type: ignore[arg-type]  # handed through
            if not self.done:
                self.done = True
                if self._after:
                    await conn.execute("COMMIT")
                await kill_connection(self._engine)

        ledger._write = write  # type: ignore[method-assign]  # the fault of this test


@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
async def test_a_connection_lost_at_the_commit_loses_and_doubles_nothing(engine: Engine, after: bool) -> None:
    kind = await engine.workflow(retries=1)
    worker = await engine.worker(kind, slots=6)
    ended, retried, parent = await engine.start(kind, 3)
    FailingCommit(engine, after=after).install()
    report = engine.ask_report(worker, completed=completed([(ended, 1)]), failed=failed([(retried, 1)]))
    plain = engine.ask_trigger([engine.task(kind), engine.task(kind)])
    child = engine.ask_trigger([engine.task(kind, parent_id=parent, child_key="k")])
    await engine.settle()
    assert sorted((await report).settled) == sorted([(ended, 1), (retried, 1)])
    ids = [*await plain, *await child]
    assert all(isinstance(task_id, str) for task_id in ids)
    assert await engine.status(ended) is RunStatus.COMPLETED
    assert len(set(worker.keys)) == len(worker.keys)
    assert {(retried, 2), *((str(task_id), 1) for task_id in ids)} <= set(worker.keys)
    assert await engine.count("task") == 6
    assert await engine.count("attempt") == 5
    assert await engine.count("queue_item") == 0
    assert engine.audience.looked_again == 1
    # The slots are counted right: six, of which five are taken.
    await engine.start(kind, 3)
    assert await engine.count("attempt") == 6


async def test_connections_killed_in_the_middle_of_load_lose_and_double_nothing(engine: Engine) -> None:
    kind = await engine.workflow(retries=0)
    total = 1500
    worker = FakeWorker("01890000-0000-7000-8000-000000000001", 1, [kind], {"default": 50})
    ids: list[str] = []
    settled: set[tuple[str, int]] = set()
    kills = 0

    async def trigger() -> None:
        for _ in range(total // 10):
            outcomes = await engine.ask_trigger([engine.task(kind) for _ in range(10)])
            assert all(isinstance(outcome, str) for outcome in outcomes)
            ids.extend(str(outcome) for outcome in outcomes)

    async def work() -> None:
        reported = 0
        while len(settled) < total:
            await more_than(reported, worker.got)
            keys = worker.keys[reported:]
            reported = len(worker.got)
            answered = await engine.ask_report(worker, completed=completed(keys, b'"done"'))
            assert answered.stale == []
            settled.update(answered.settled)

    async def kill() -> None:
        nonlocal kills

        async def one() -> int:
            # There may be none at the moment: the loop is still taking a new one.
            ended = await engine.fetch(KILL)
            assert ended
            return len(ended)

        for goal in range(200, total, 300):
            await more_than(goal, settled)
            kills += await eventually(one)

    async with running(engine):
        engine.connect(worker, in_hand=set())
        async with asyncio.TaskGroup() as group:
            for part in (trigger(), work(), kill()):
                group.create_task(part)
    assert kills >= 5
    assert len(ids) == len(set(ids)) == total
    assert sorted(worker.keys) == sorted((task_id, 1) for task_id in ids)
    assert await engine.value("SELECT count(*) FROM treadle.task_result WHERE status = 3") == total
    assert [await engine.count(table) for table in ("attempt", "queue_item", "timer")] == [0, 0, 0]
    ends = [entry.task_id for entry in engine.audience.ended]
    assert len(ends) == len(set(ends))
    assert engine.audience.looked_again >= 1


async def test_a_database_out_of_reach_is_said_at_the_start(postgres_url: str) -> None:
    del postgres_url
    engine = Engine("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable):
        await engine.loop.open()


@pytest.mark.breaks_rows
async def test_memory_that_disagrees_with_the_tables_is_loaded_anew(engine: Engine) -> None:
    kind = await engine.workflow()
    first, second = await engine.start(kind, 2)
    conn = await asyncpg.connect(engine.url)
    await conn.execute("DELETE FROM treadle.queue_item WHERE task_id = $1::uuid", first)
    await conn.close()
    worker = await engine.worker(kind, slots=2)
    await engine.settle()
    assert worker.keys == [(second, 1)]
