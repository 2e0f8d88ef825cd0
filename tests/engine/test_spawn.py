"""Children of tasks that run: what memory knows to be new is not looked for, and nothing is spawned twice all the same."""

import pytest

from tests.engine.fakes import FakeWorker
from tests.engine.harness import Engine, failed
from treadle.engine.attempt import Attempt
from treadle.engine.catalog import TaskKind
from treadle.model.ids import new_id


async def running_parent(engine: Engine, kind: TaskKind) -> tuple[FakeWorker, str]:
    worker = await engine.worker(kind, slots=1)
    [parent] = await engine.start(kind)
    assert worker.keys == [(parent, 1)]
    return worker, parent


def children(engine: Engine, kind: TaskKind, parent: str, *indices: int) -> list[Attempt]:
    return [engine.task(kind, parent_id=parent, child_index=index) for index in indices]


async def spawned(engine: Engine, parent: str) -> dict[str, str]:
    rows = await engine.fetch("SELECT key, child_id FROM treadle.child WHERE parent_id = $1::uuid", parent)
    return {row["key"]: str(row["child_id"]) for row in rows}


@pytest.mark.parametrize("count", [1, 100])
async def test_children_are_stored_under_their_indices(engine: Engine, count: int) -> None:
    kind = await engine.workflow()
    _, parent = await running_parent(engine, kind)
    ids = await engine.trigger(*children(engine, kind, parent, *range(count)))
    assert await spawned(engine, parent) == {f"i:{index}": ids[index] for index in range(count)}
    assert await engine.count("task") == count + 1


@pytest.mark.parametrize("count", [1, 100])
async def test_an_index_used_before_is_the_same_child(engine: Engine, count: int) -> None:
    kind = await engine.workflow()
    _, parent = await running_parent(engine, kind)
    first = await engine.trigger(*children(engine, kind, parent, *range(count)))
    again = await engine.trigger(*children(engine, kind, parent, *range(count + 1)))
    assert again[:count] == first
    assert again[count] not in first
    assert await engine.count("task") == count + 2


async def test_requests_that_overtake_each_other_are_all_new(engine: Engine) -> None:
    kind = await engine.workflow()
    _, parent = await running_parent(engine, kind)
    later = await engine.trigger(*children(engine, kind, parent, 2, 3))
    earlier = await engine.trigger(*children(engine, kind, parent, 0, 1))
    assert await spawned(engine, parent) == dict(zip(("i:0", "i:1", "i:2", "i:3"), earlier + later, strict=True))


async def test_twins_and_keys_beside_new_indices(engine: Engine) -> None:
    kind = await engine.workflow()
    _, parent = await running_parent(engine, kind)
    keyed = [engine.task(kind, parent_id=parent, child_index=9, child_key="a") for _ in range(2)]
    ids = await engine.trigger(*children(engine, kind, parent, 0, 1, 1), *keyed, *children(engine, kind, parent, 2))
    assert ids[1] == ids[2]
    assert ids[3] == ids[4]
    assert await spawned(engine, parent) == {"i:0": ids[0], "i:1": ids[1], "k:a": ids[3], "i:2": ids[5]}
    assert await engine.count("task") == 5


async def test_another_attempt_of_the_parent_finds_the_children_of_the_first(engine: Engine) -> None:
    kind = await engine.workflow(retries=1)
    worker, parent = await running_parent(engine, kind)
    first = await engine.trigger(*children(engine, kind, parent, 0, 1))
    await engine.cancel(*first)
    await engine.report(worker, failed=failed([(parent, 1)]))
    assert worker.keys[-1] == (parent, 2)
    again = await engine.trigger(*children(engine, kind, parent, 0, 1, 2))
    assert again[:2] == first
    assert await engine.count("task") == 4


async def test_a_parent_that_was_taken_over_is_looked_up(engine: Engine) -> None:
    kind = await engine.workflow()
    _, parent = await running_parent(engine, kind)
    [first] = await engine.trigger(*children(engine, kind, parent, 0))
    await engine.restart()
    assert await engine.trigger(*children(engine, kind, parent, 0)) == [first]


@pytest.mark.parametrize("count", [1, 100])
async def test_a_child_that_came_through_another_engine_is_found_after_all(engine: Engine, count: int) -> None:
    kind = await engine.workflow()
    worker, parent = await running_parent(engine, kind)
    elsewhere = new_id()
    async with engine.database.transaction() as conn:
        await conn.execute(
            "INSERT INTO treadle.child (tenant_id, parent_id, key, child_id) VALUES ($1, $2::uuid, 'i:0', $3::uuid)",
            kind.tenant_id,
            parent,
            elsewhere,
        )
    mine = engine.ask_trigger(children(engine, kind, parent, *range(count)))
    beside = engine.ask_trigger([engine.task(kind)])
    await engine.settle()
    ids = await mine
    assert ids[0] == elsewhere
    assert len(set(ids)) == count
    assert await engine.count("task") == count + 1
    assert all(isinstance(outcome, str) for outcome in await beside)
    # The commit that was refused has not cost the parent its attempt.
    assert worker.keys == [(parent, 1)]
