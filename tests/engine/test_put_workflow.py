"""Put a workflow: a version for each change of content, and runs keep the one they began with."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from tests.engine.harness import OTHER_TENANT, TENANT, Engine
from treadle.engine.catalog import Catalog
from treadle.engine.put_workflow import put_workflow
from treadle.model.definition import TaskDefinition, WorkflowDefinition
from treadle.model.errors import NotFound
from treadle.storage import register as rows
from treadle.storage.database import Conn
from treadle.storage.register import VersionRow


def definition(timeout_ms: int = 1000, description: str = "", name: str = "job") -> WorkflowDefinition:
    return WorkflowDefinition(name, (TaskDefinition(name, f"{name}:{name}", timeout_ms=timeout_ms),), description)


async def put(engine: Engine, wanted: WorkflowDefinition, tenant_id: int = TENANT) -> VersionRow:
    return await put_workflow(
        wanted, tenant_id=tenant_id, database=engine.database, catalog=engine.catalog, now=engine.clock.now()
    )


async def test_the_same_content_is_the_same_version(engine: Engine) -> None:
    first = await put(engine, definition())
    assert await put(engine, definition()) == first
    assert await put(engine, definition(description="other words")) == first
    assert await engine.count("workflow_version") == 1


async def test_changed_content_is_a_new_version_of_the_same_workflow(engine: Engine) -> None:
    first = await put(engine, definition(1000))
    second = await put(engine, definition(2000))
    assert second.workflow_id == first.workflow_id
    assert second.number > first.number
    assert second.id != first.id
    assert (await engine.catalog.current(TENANT, "job")).version == second.number


async def test_going_back_to_earlier_content_is_a_new_version_again(engine: Engine) -> None:
    numbers = [(await put(engine, definition(ms))).number for ms in (1000, 2000, 1000)]
    assert numbers == sorted(set(numbers))


async def test_names_belong_to_a_tenant(engine: Engine) -> None:
    mine = await put(engine, definition())
    theirs = await put(engine, definition(), OTHER_TENANT)
    assert mine.workflow_id != theirs.workflow_id
    with pytest.raises(NotFound):
        await engine.catalog.current(3, "job")


async def test_a_queued_run_keeps_the_version_it_began_with(engine: Engine) -> None:
    old = await engine.workflow(timeout_ms=1000, retries=1)
    [before] = await engine.start(old)
    new = await engine.workflow(timeout_ms=500_000)
    [after] = await engine.start(new)
    await engine.restart()
    worker = await engine.worker(new, slots=2)
    assert worker.keys == [(before, 1), (after, 1)]
    versions = {a.task_id: a.kind.version for a in engine.loop.memory.running.of_worker(worker.worker_id)}
    assert versions == {before: old.version, after: new.version}
    await engine.pass_time(1)
    assert (await engine.run(before)).attempt == 2
    assert (await engine.run(after)).attempt == 1


async def test_registrations_at_once_leave_one_current_version_everywhere(engine: Engine) -> None:
    await asyncio.gather(*(put(engine, definition(1000 + n % 5)) for n in range(20)))
    in_memory = (await engine.catalog.current(TENANT, "job")).version
    assert in_memory == await engine.value("SELECT max(number) FROM treadle.workflow_version")
    assert (await Catalog(engine.database).current(TENANT, "job")).version == in_memory
    assert await engine.count("workflow") == 1
    assert await engine.count("queue") == 1


async def test_many_workflows_register_in_no_time(engine: Engine) -> None:
    for n in range(120):
        await put(engine, definition(name=f"job{n}"))
    assert await engine.count("workflow") == 120
    kinds = [await engine.catalog.current(TENANT, f"job{n}") for n in range(120)]
    assert len({kind.queue_id for kind in kinds}) == 120


async def test_a_hint_in_the_middle_of_a_look_up_does_no_harm(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-up is answered, and what it read is not taken for current: a newer version may have been stored."""
    stored = await engine.workflow("busy")
    catalog = Catalog(engine.database)
    ensure_queues = rows.ensure_queues

    async def forgetful(conn: Conn, *, tenant_id: int, names: Sequence[str]) -> dict[str, int]:
        found = await ensure_queues(conn, tenant_id=tenant_id, names=names)
        catalog.forget(tenant_id)
        return found

    monkeypatch.setattr(rows, "ensure_queues", forgetful)
    assert (await catalog.current(TENANT, "busy")).version == stored.version
    assert catalog.cached(TENANT, "busy") is None


async def test_a_hint_after_a_look_up_does_no_harm(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between what was read and the answer, the connection goes back to its pool: a hint may come in then."""
    stored = await engine.workflow("busy")
    catalog = Catalog(engine.database)
    connection = engine.database.connection

    @asynccontextmanager
    async def returning() -> AsyncIterator[Conn]:
        async with connection() as conn:
            yield conn
        catalog.forget(TENANT)

    monkeypatch.setattr(engine.database, "connection", returning)
    assert (await catalog.current(TENANT, "busy")).version == stored.version
