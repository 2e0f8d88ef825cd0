"""Trigger: runs come into being, children once per key."""

import pytest

from tests.engine.harness import OTHER_TENANT, TENANT, Engine
from treadle.model.ids import id_at, new_id
from treadle.model.states import EventKind, RunStatus


async def test_a_run_without_a_worker_is_stored_and_queued(engine: Engine) -> None:
    kind = await engine.workflow(schedule_timeout_ms=60_000)
    [task_id] = await engine.trigger(engine.task(kind, payload=b'{"n":1}', metadata='{"a":"b"}'))
    run = await engine.run(task_id)
    assert (run.status, run.attempt, run.retries_used) == (RunStatus.QUEUED, 1, 0)
    assert run.metadata == '{"a":"b"}'
    [row] = await engine.fetch("SELECT input, version, queue_id, created_at FROM treadle.task")
    assert (row["input"], row["version"], row["queue_id"]) == (b'{"n":1}', kind.version, kind.queue_id)
    assert row["created_at"].timestamp() == engine.clock.now()
    [item] = await engine.fetch("SELECT task_id, expires_at FROM treadle.queue_item")
    assert str(item["task_id"]) == task_id
    assert item["expires_at"].timestamp() == engine.clock.now() + 60
    assert await engine.events(task_id) == [(EventKind.CREATED, 1)]


async def test_a_run_that_finds_a_free_slot_is_delivered_in_the_same_commit(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind)
    [task_id] = await engine.trigger(engine.task(kind, payload=b'{"x":2}', priority=3))
    assert [(got.task_id, got.attempt, got.input, got.priority) for got in worker.got] == [(task_id, 1, b'{"x":2}', 3)]
    assert await engine.status(task_id) is RunStatus.RUNNING
    assert await engine.count("queue_item") == 0
    assert await engine.events(task_id) == [(EventKind.CREATED, 1), (EventKind.ASSIGNED, 1)]


async def test_answers_come_in_the_order_of_the_runs(engine: Engine) -> None:
    kind = await engine.workflow()
    tasks = [engine.task(kind) for _ in range(50)]
    assert await engine.trigger(*tasks) == [task.task_id for task in tasks]
    assert await engine.count("task") == 50


async def test_a_child_of_the_same_key_is_the_same_child(engine: Engine) -> None:
    kind = await engine.workflow()
    [parent] = await engine.start(kind)
    [first] = await engine.trigger(engine.task(kind, parent_id=parent, child_key="a"))
    again, other = await engine.trigger(
        engine.task(kind, parent_id=parent, child_key="a"), engine.task(kind, parent_id=parent, child_key="b")
    )
    assert again == first
    assert other != first
    assert await engine.count("task") == 3
    assert (await engine.run(first)).parent_id == parent


async def test_twins_within_one_commit_become_one_child(engine: Engine) -> None:
    kind = await engine.workflow()
    [parent] = await engine.start(kind)
    one = engine.ask_trigger([engine.task(kind, parent_id=parent, child_index=7) for _ in range(2)])
    two = engine.ask_trigger([engine.task(kind, parent_id=parent, child_index=7)])
    await engine.settle()
    assert len({*await one, *await two}) == 1
    assert await engine.count("task") == 2


async def test_a_key_and_an_index_of_the_same_text_are_different_children(engine: Engine) -> None:
    kind = await engine.workflow()
    [parent] = await engine.start(kind)
    ids = await engine.trigger(
        engine.task(kind, parent_id=parent, child_key="1"), engine.task(kind, parent_id=parent, child_index=1)
    )
    assert len(set(ids)) == 2


async def test_a_key_goes_before_an_index(engine: Engine) -> None:
    kind = await engine.workflow()
    [parent] = await engine.start(kind)
    [first] = await engine.trigger(engine.task(kind, parent_id=parent, child_key="a", child_index=1))
    assert await engine.trigger(engine.task(kind, parent_id=parent, child_key="a", child_index=2)) == [first]


async def test_children_without_key_or_index_are_always_new(engine: Engine) -> None:
    kind = await engine.workflow()
    [parent] = await engine.start(kind)
    ids = await engine.trigger(*(engine.task(kind, parent_id=parent) for _ in range(3)))
    assert len(set(ids)) == 3
    assert await engine.count("child") == 0


async def test_the_same_key_under_two_parents_and_two_tenants_is_two_children(engine: Engine) -> None:
    mine = await engine.workflow()
    theirs = await engine.workflow(tenant_id=OTHER_TENANT)
    one, two = await engine.start(mine, 2)
    ids = await engine.trigger(
        engine.task(mine, parent_id=one, child_key="k"),
        engine.task(mine, parent_id=two, child_key="k"),
        engine.task(theirs, parent_id=one, child_key="k"),
    )
    assert len(set(ids)) == 3
    tenants = await engine.fetch("SELECT tenant_id FROM treadle.child ORDER BY tenant_id")
    assert [row["tenant_id"] for row in tenants] == [TENANT, TENANT, OTHER_TENANT]


async def test_the_existing_child_is_found_whatever_has_become_of_it(engine: Engine) -> None:
    kind = await engine.workflow()
    [parent] = await engine.start(kind)
    [child] = await engine.trigger(engine.task(kind, parent_id=parent, child_key="k"))
    await engine.cancel(child)
    assert await engine.trigger(engine.task(kind, parent_id=parent, child_key="k")) == [child]
    assert await engine.status(child) is RunStatus.CANCELLED


async def test_a_run_that_the_tables_refuse_fails_alone(engine: Engine) -> None:
    kind = await engine.workflow()
    [parent] = await engine.start(kind)
    far_away = id_at(engine.clock.now() + 400 * 86_400)
    tasks = [engine.task(kind, parent_id=parent, child_index=n) for n in range(5)]
    tasks.insert(2, engine.task(kind, parent_id=far_away, child_key="lost"))
    mixed = engine.ask_trigger(tasks)
    alone = engine.ask_trigger([engine.task(kind)])
    await engine.settle()
    outcomes = await mixed
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, False, True, False, False, False]
    assert "partition" in str(outcomes[2])
    assert all(isinstance(outcome, str) for outcome in await alone)
    assert await engine.count("task") == 7
    assert await engine.count("queue_item") == 7


@pytest.mark.parametrize("size", [8192, 8193, 100_000])
async def test_inputs_of_any_size_arrive_whole(engine: Engine, size: int) -> None:
    kind = await engine.workflow()
    payload = b'{"x":"' + b"y" * (size - 8) + b'"}'
    assert len(payload) == size
    await engine.trigger(engine.task(kind, payload=payload), engine.task(kind, payload=b'{"small":1}'))
    waiting = [
        engine.loop.memory.core.waiting(str(row["id"])) for row in await engine.fetch("SELECT id FROM treadle.task")
    ]
    assert all(item is not None and (item.input is None or len(item.input) <= 8192) for item in waiting)
    worker = await engine.worker(kind, slots=2)
    assert [got.input for got in worker.got] == [payload, b'{"small":1}']


async def test_repeating_a_trigger_of_unknown_outcome_starts_nothing_twice(engine: Engine) -> None:
    kind = await engine.workflow()
    worker = await engine.worker(kind, slots=10)
    stored = engine.task(kind)
    await engine.trigger(stored)
    repeated = engine.task(kind)
    repeated.task_id = stored.task_id
    future = engine.ask_trigger([repeated, engine.task(kind)])
    [command] = engine.inbox.take(10)
    command.uncertain = True  # type: ignore[attr-defined]  # it is a trigger
    engine.inbox.put_control(command)
    await engine.settle()
    ids = await future
    assert ids[0] == stored.task_id
    assert worker.keys == [(stored.task_id, 1), (ids[1], 1)]
    assert await engine.count("task") == 2


async def test_new_ids_are_of_the_present_and_never_collide(engine: Engine) -> None:
    kind = await engine.workflow()
    ids = await engine.start(kind, 1000)
    assert len(set(ids)) == 1000
    assert ids == sorted(ids)
    assert new_id() > ids[-1]
