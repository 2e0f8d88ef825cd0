"""Lists of runs: by filter, page by page; workflow runs stand in them as one, with the status that their tasks show."""

import random
from collections.abc import Collection

import pytest

from tests.engine.flows import Flow, flow, step
from tests.engine.harness import OTHER_TENANT, TENANT, Engine, completed
from treadle.model.definition import ConditionAction, Conditions, EventCondition, SleepCondition
from treadle.model.ids import new_id
from treadle.model.states import RunStatus
from treadle.storage import find, read
from treadle.storage.find import RunFilter, find_runs
from treadle.storage.read import run_rows

QUEUED, RUNNING = RunStatus.QUEUED, RunStatus.RUNNING
COMPLETED, FAILED, CANCELLED, SKIPPED = RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.SKIPPED
ALL = (QUEUED, RUNNING, COMPLETED, FAILED, CANCELLED)


def waits_for(key: str) -> Conditions:
    return Conditions(events=(EventCondition(key, key, ConditionAction.QUEUE, 0),))


async def found(engine: Engine, *statuses: RunStatus, limit: int = 100, tasks: bool = False) -> list[str]:
    async with engine.database.connection() as conn:
        wanted = RunFilter(statuses=statuses, tasks=tasks)
        return await find_runs(conn, tenant_id=TENANT, wanted=wanted, limit=limit)


async def paged(engine: Engine, statuses: Collection[RunStatus], limit: int) -> list[str]:
    """Everything, page by page."""
    ids: list[str] = []
    async with engine.database.connection() as conn:
        while True:
            wanted = RunFilter(statuses=statuses, before=ids[-1] if ids else None)
            page = await find_runs(conn, tenant_id=TENANT, wanted=wanted, limit=limit)
            assert page == sorted(page, reverse=True)
            ids += page
            if len(page) < limit:
                return ids


class Mixed:
    """Runs of one task and workflow runs in every state, by what their status is."""

    def __init__(self) -> None:
        self.by_status: dict[RunStatus, set[str]] = {status: set() for status in ALL}

    def of(self, statuses: Collection[RunStatus]) -> list[str]:
        ids: set[str] = set()
        for status in statuses or ALL:
            ids |= self.by_status[status]
        return sorted(ids, reverse=True)


async def make_mixed(engine: Engine, count: int) -> Mixed:
    """So many of each kind, made in bulk: most of their ids begin alike."""
    single = await engine.workflow("single")
    dag = await flow(engine, step("a"), step("b", "a"), step("c", "a", conditions=waits_for("go")), worker=False)
    sleepy = await flow(
        engine,
        step("z", conditions=Conditions(sleeps=(SleepCondition(60_000, "s", ConditionAction.QUEUE, 0),))),
        name="sleepy",
        worker=False,
    )
    tasks = [engine.task(kind) for kind in (single, dag.kind, sleepy.kind) for _ in range(count)]
    random.Random(7).shuffle(tasks)
    await engine.trigger(*tasks)
    singles = sorted(task.task_id for task in tasks if task.kind is single)
    dags = sorted(task.task_id for task in tasks if task.kind is dag.kind)
    mixed = Mixed()
    mixed.by_status[QUEUED] = {task.task_id for task in tasks if task.kind is sleepy.kind}
    # Half of the singles run, a third of those that did are done.
    worker = await engine.worker(single, slots=count // 2)
    running = {item.task_id for item in worker.got}
    done = set(sorted(running)[: count // 6])
    await engine.disconnect(worker)
    await engine.report(worker, completed=completed([(id_, 1) for id_ in done]))
    mixed.by_status[COMPLETED] = set(done)
    mixed.by_status[RUNNING] = running - done
    mixed.by_status[QUEUED] |= set(singles) - running
    # Of the workflow runs: a third never began, a third run, a third are between two tasks.
    worker = await engine.worker(dag.queue, slots=2 * (count // 3))
    begun = [item.task_id for item in worker.got]
    run_of = {dag.id(run_id, "a"): run_id for run_id in dags}
    await engine.disconnect(worker)
    await engine.report(worker, completed=completed([(id_, 1) for id_ in begun[: count // 3]]))
    mixed.by_status[RUNNING] |= {run_of[task_id] for task_id in begun}
    mixed.by_status[QUEUED] |= set(dags) - {run_of[task_id] for task_id in begun}
    return mixed


@pytest.mark.parametrize("limit", [1, 7, 1000])
async def test_every_run_stands_on_one_page_and_in_order(
    engine: Engine, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "_BEYOND", 3)
    mixed = await make_mixed(engine, 24)
    assert all(mixed.by_status[status] for status in (QUEUED, RUNNING, COMPLETED))
    for statuses in [(), (QUEUED,), (RUNNING,), (QUEUED, RUNNING), (RUNNING, COMPLETED), (COMPLETED,), ALL]:
        assert await paged(engine, statuses, limit) == mixed.of(statuses), statuses


async def test_a_list_has_runs_or_tasks(engine: Engine) -> None:
    single = await engine.workflow("single")
    made = await flow(engine, step("a"), step("b", "a"), on_failure=step("mend"))
    run_id, other = await made.start(), await made.start()
    [alone] = await engine.start(single)
    await made.fail(run_id, "a", error="no")
    ids = {name: made.id(run_id, name) for name in made.names}
    assert await found(engine) == [alone, other, run_id]
    assert set(await found(engine, tasks=True)) == {alone, made.id(other, "a"), *ids.values()}
    assert await found(engine, RUNNING) == [other, run_id]
    assert set(await found(engine, RUNNING, tasks=True)) == {made.id(other, "a"), ids["mend"]}
    assert await found(engine, FAILED) == []
    assert await found(engine, FAILED, tasks=True) == [ids["a"]]
    assert await found(engine, CANCELLED, tasks=True) == [ids["b"]]
    await made.complete(run_id, "mend")
    assert await found(engine, FAILED) == [run_id]
    assert await found(engine, QUEUED, tasks=True) == await found(engine, QUEUED) == [alone]


async def test_a_workflow_run_runs_once_one_of_its_tasks_does(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b", "a", conditions=waits_for("go")), worker=False)
    run_id = await made.start()
    assert (await found(engine, QUEUED), await found(engine, RUNNING)) == ([run_id], [])
    await made.hire()
    assert (await found(engine, QUEUED), await found(engine, RUNNING)) == ([], [run_id])
    await made.complete(run_id, "a")
    # Nothing of it runs now, and its second task has no row yet.
    assert await engine.count("attempt") == await engine.count("queue_item") == 0
    assert (await found(engine, QUEUED), await found(engine, RUNNING)) == ([], [run_id])
    assert await found(engine, QUEUED, RUNNING) == [run_id]


async def test_a_workflow_run_that_waits_from_the_start_is_queued(engine: Engine) -> None:
    made = await flow(engine, step("a", conditions=waits_for("go")))
    run_id = await made.start()
    assert (await found(engine, QUEUED), await found(engine, RUNNING)) == ([run_id], [])
    assert (await engine.run(run_id)).status is QUEUED


async def test_a_workflow_run_is_shown_as_its_tasks_are(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b"), step("c", "a", "b"), on_failure=step("mend"))
    run_id = await made.start()
    begun = engine.clock.now()
    await engine.pass_time(3)
    await made.complete(run_id, "b")
    run = await engine.run(run_id)
    assert (run.status, run.run_id, run.step) == (RUNNING, None, -1)
    assert run.started_at is not None
    assert run.started_at.timestamp() == begun + 3
    await engine.pass_time(3)
    await made.fail(run_id, "a", error="the first\nand more")
    await engine.pass_time(3)
    await made.fail(run_id, "mend", error="the second")
    run = await engine.run(run_id)
    assert (run.status, run.error) == (FAILED, "the first\nand more")
    assert run.finished_at is not None
    assert run.finished_at.timestamp() == begun + 9
    task = await engine.run(made.id(run_id, "a"))
    assert (task.run_id, task.step, task.status) == (run_id, 0, FAILED)


async def test_a_replayed_task_that_waits_for_its_parents_shows_its_next_attempt(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b", "a"))
    run_id = await made.start()
    await made.complete(run_id, "a")
    await made.complete(run_id, "b")
    await engine.replay(run_id)
    again = await engine.run(made.id(run_id, "b"))
    assert (again.status, again.attempt) == (QUEUED, 2)
    assert (await engine.run(run_id)).status is RUNNING


async def test_filters_look_at_the_run(engine: Engine) -> None:
    made = await flow(engine, step("a"), step("b", "a"))
    parent = new_id()
    one = await made.start(metadata='{"k":"1","l":"1"}', parent_id=parent, child_index=0)
    two = await made.start(metadata='{"k":"1","l":"2"}')
    await made.start(metadata='{"k":"3"}')
    async with engine.database.connection() as conn:

        async def ids(**filters: object) -> list[str]:
            # All of them run, so each of these ways must find the same.
            one, *others = [
                await find_runs(
                    conn,
                    tenant_id=TENANT,
                    wanted=RunFilter(statuses=statuses, **filters),  # type: ignore[arg-type]  # fields of this class
                    limit=10,
                )
                for statuses in ((), (RUNNING,), (QUEUED, RUNNING))
            ]
            assert others == [one, one]
            return one

        pairs = (("k", "1"), ("l", "2"))
        assert await ids(metadata=pairs) == [two, one]
        assert await ids(metadata=pairs, all_metadata=True) == [two]
        assert await ids(parent_id=parent) == [one]
        assert len(await ids(names=["flow"])) == 3
        assert await ids(names=["other"]) == []
        assert await ids(worker_id=made.worker.worker_id, tasks=True) != []
        assert await find_runs(conn, tenant_id=OTHER_TENANT, wanted=RunFilter(), limit=10) == []


async def test_a_page_of_workflow_runs_is_read_in_three_statements(engine: Engine) -> None:
    made: Flow = await flow(engine, *[step(f"s{n}") for n in range(5)])
    runs = await engine.start(made.kind, 20)
    statements: list[str] = []
    async with engine.database.connection() as conn:
        with conn.query_logger(lambda record: statements.append(record.query)):
            rows = await run_rows(conn, tenant_id=TENANT, ids=runs)
    assert len(rows) == 20
    assert len([text for text in statements if text.startswith("/* read.")]) == 3


async def test_payloads_are_read_as_long_as_they_fit(engine: Engine) -> None:
    single = await engine.workflow("single")
    ids = await engine.trigger(*(engine.task(single, payload=b'"' + b"x" * 98 + b'"') for _ in range(3)))
    async with engine.database.connection() as conn:
        asked = [*ids, ids[0], new_id()]
        for room, count in ((1000, 3), (299, 2), (100, 1), (99, 0)):
            found = await read.payloads(conn, tenant_id=TENANT, ids=asked, max_bytes=room)
            assert set(found) == set(ids[:count])
            assert all(len(payload) == 100 and output is None for payload, output in found.values())
        assert await read.payloads(conn, tenant_id=OTHER_TENANT, ids=ids, max_bytes=1000) == {}
