"""Workflows against a real engine with its database."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.databases import new_database
from tests.support.eventually import eventually
from treadle import (
    Context,
    NewEvent,
    RunStatus,
    TaskCancelled,
    TaskFailed,
    TaskSkipped,
    Treadle,
    Worker,
    WorkflowRun,
    event,
    sleep,
)
from treadle.testing.engine import EngineProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@dataclass
class Order:
    id: int
    total: int = 5
    fail: str = ""


@dataclass
class Receipt:
    order: int
    amount: int


@dataclass
class Approval:
    by: str


@pytest.fixture(scope="module")
def engine_process(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    with (
        new_database(postgres_url) as url,
        EngineProcess(tmp_path_factory.mktemp("engine"), database_url=url) as engine,
    ):
        yield engine


class Shop:
    """Workflows, and what their tasks have seen."""

    def __init__(self, engine: EngineProcess) -> None:  # noqa: C901 - many small functions, not a complex one
        self.app = app = Treadle(engine.token, engine.grpc_address)
        self.gate = asyncio.Event()
        self.inside = asyncio.Event()
        self.failing = True
        self.calls: list[str] = []

        # A diamond with tasks for both ends.
        self.orders = orders = app.workflow("orders", input=Order)

        @orders.task
        async def charge(order: Order) -> Receipt:
            self.calls.append("charge")
            return Receipt(order.id, order.total)

        @orders.task(parents=[charge])
        def pack(ctx: Context, order: Order) -> str:
            self.calls.append("pack")
            if order.fail == "pack" and self.failing:
                raise ValueError(f"no box for {order.id}")
            return f"box of {ctx.output(charge).amount}"

        @orders.task(parents=[charge], skip_if=charge.when("output.amount == 0"))
        async def bill(ctx: Context) -> int | None:
            self.calls.append("bill")
            return ctx.output(charge).amount * 2

        @orders.task(parents=[pack, bill])
        async def ship(ctx: Context, order: Order) -> dict[str, Any]:
            self.calls.append("ship")
            return {"id": order.id, "box": ctx.output(pack), "bill": ctx.output(bill, default=None)}

        @orders.on_failure
        async def refund(ctx: Context, order: Order) -> dict[str, str]:
            self.calls.append("refund")
            return {name: f"{error.error_message} ({order.id})" for name, error in ctx.errors.items()}

        @orders.on_success
        def thank(ctx: Context) -> str:
            return f"thanks for {ctx.output(ship)['id']}"

        self.charge, self.pack, self.bill, self.ship = charge, pack, bill, ship
        self.refund, self.thank = refund, thank

        # Conditions.
        self.approvals = approvals = app.workflow("approvals", input=Order)
        self.approved = approved = event("approved", where="input.by != 'nobody'", payload=Approval)
        late, soon = sleep(minutes=10), sleep(seconds=0.1)

        @approvals.task(wait_for=approved | late, cancel_if=event("stopped"))
        async def patiently(ctx: Context, order: Order) -> str:
            approval = ctx.event(approved)
            return f"{order.id} {approval.by if approval else 'nobody'} {ctx.met(late)}"

        @approvals.task(parents=[patiently], wait_for=event("never") | soon)
        async def hastily(ctx: Context) -> bool:
            return ctx.met(soon)

        self.patiently, self.hastily = patiently, hastily

        self.waits = waits = app.workflow("waits", input=Order)
        self.first, self.second = event("first", scope="s"), event("second", scope="s")

        @waits.task(wait_for=self.first & self.second, cancel_if=event("stopped", scope="s"))
        async def both(ctx: Context) -> dict[str, Any]:
            return ctx.triggers

        self.both = both

        # Events that come while a parent runs.
        self.early = early = app.workflow("early", input=Order)
        ready, fresh, soon = event("ready"), event("ready", since="wait"), sleep(seconds=0.1)

        @early.task
        async def work() -> None:
            self.inside.set()
            await self.gate.wait()

        @early.task(parents=[work], wait_for=ready | sleep(minutes=10))
        def remembers(ctx: Context) -> Any:
            return ctx.event(ready)

        @early.task(parents=[work], wait_for=fresh | soon)
        def forgets(ctx: Context) -> bool:
            return ctx.met(fresh)

        self.remembers, self.forgets = remembers, forgets

        # One that can be caught in the middle, with children.
        self.slow = slow = app.workflow("slow", input=Order)

        @app.task
        async def patient() -> str:
            self.inside.set()
            await self.gate.wait()
            return "patience"

        @slow.task
        def before() -> None: ...

        @slow.task(parents=[before])
        async def spawn(ctx: Context) -> list[str]:
            inner = await orders.options(metadata={"of": ctx.task}).start(Order(77))
            result = await inner.result()
            return [await patient.run(), result.output(thank)]

        self.spawn, self.patient = spawn, patient

        # No input, one plain task.
        self.single = single = app.workflow("single")

        @single.task
        def only() -> int | None:
            return None

        self.only = only

        self.nothing = nothing = app.workflow("nothing")

        @nothing.task
        def silent() -> None: ...

        @nothing.task(parents=[silent])
        def reader(ctx: Context) -> str:
            return repr(ctx.output(silent))

        self.reader = reader


@pytest.fixture
async def shop(engine_process: EngineProcess) -> AsyncIterator[Shop]:
    made = Shop(engine_process)
    worker = Worker(made.app, slots=20)
    running = asyncio.create_task(worker.run())
    await asyncio.wait_for(worker.wait_ready(), 20)
    yield made
    made.gate.set()
    await worker.stop()
    await running
    await asyncio.to_thread(made.app.close)


async def statuses(run: WorkflowRun) -> dict[str, str]:
    return {name: task.status.name for name, task in (await run.tasks()).items()}


async def test_outputs_pass_from_task_to_task(shop: Shop) -> None:
    result = await shop.orders.run(Order(7))
    assert result.status is RunStatus.COMPLETED
    assert result.output(shop.charge) == Receipt(7, 5)
    assert result.output(shop.ship) == {"id": 7, "box": "box of 5", "bill": 10}
    assert result.output(shop.thank) == "thanks for 7"
    assert shop.calls[0] == "charge"
    assert sorted(shop.calls) == ["bill", "charge", "pack", "ship"]
    assert "refund" not in result.tasks


async def test_a_skipped_parent_is_seen_as_such(shop: Shop) -> None:
    result = await shop.orders.run(Order(8, total=0))
    assert result.skipped(shop.bill)
    assert result.output(shop.ship) == {"id": 8, "box": "box of 0", "bill": None}
    with pytest.raises(TaskSkipped):
        result.output(shop.bill)


async def test_a_failed_run_names_its_task_and_is_replayed_from_there(shop: Shop) -> None:
    run = await shop.orders.start(Order(9, fail="pack"))
    with pytest.raises(TaskFailed, match=r"orders\.pack \(run .*\) failed: ValueError: no box for 9") as caught:
        await run.result()
    assert caught.value.error_type == "ValueError"
    result = await run.outcome()
    assert result.status is RunStatus.FAILED
    assert result.output(shop.refund) == {"pack": "no box for 9 (9)"}
    with pytest.raises(TaskCancelled):
        result.output(shop.ship)
    assert await run.status() is RunStatus.FAILED
    shop.failing = False
    assert await run.replay()
    again = await run.result()
    assert again.output(shop.ship) == {"id": 9, "box": "box of 5", "bill": 10}
    assert "refund" not in again.tasks
    assert shop.calls.count("charge") == 1
    assert shop.calls.count("pack") == 2


async def test_one_task_and_what_follows_it_is_replayed(shop: Shop) -> None:
    run = await shop.orders.start(Order(10))
    await run.result()
    shop.calls.clear()
    assert await run.replay(shop.bill)
    result = await run.result()
    assert result.output(shop.thank) == "thanks for 10"
    assert shop.calls == ["bill", "ship"]
    assert result.tasks["bill"].attempt == 2


async def test_an_event_or_the_time_that_passes(shop: Shop) -> None:
    run = await shop.approvals.start(Order(1))
    await shop.app.push("approved", {"by": "nobody"})
    await shop.app.push("approved", Approval("Ada"))
    result = await run.result()
    assert result.output(shop.patiently) == "1 Ada False"
    assert result.output(shop.hastily) is True


async def test_an_event_from_before_the_run_does_not_count(shop: Shop) -> None:
    await shop.app.push("approved", Approval("Bob"))
    run = await shop.approvals.start(Order(2))
    await shop.app.push("approved", Approval("Eve"))
    assert (await run.result()).output(shop.patiently) == "2 Eve False"


async def test_conditions_combine_and_events_before_the_wait_count(shop: Shop) -> None:
    runs = await shop.waits.start_many([Order(1), Order(2)])
    await shop.app.push_many([NewEvent("first", {"n": 1}, scope="s"), NewEvent("first", {"n": 9}, scope="other")])
    assert [set((await statuses(run)).values()) <= {"QUEUED"} for run in runs] == [True, True]
    await shop.app.push("second", {"n": 2}, scope="s")
    for run in runs:
        assert (await run.result()).output(shop.both) == {"first": {"n": 1}, "second": {"n": 2}}


async def test_an_event_that_comes_while_a_parent_runs(shop: Shop) -> None:
    run = await shop.early.start(Order(1))
    await asyncio.wait_for(shop.inside.wait(), 20)
    await shop.app.push("ready", {"n": 1})
    shop.gate.set()
    result = await run.result()
    assert result.output(shop.remembers) == {"n": 1}
    assert result.output(shop.forgets) is False


async def test_a_condition_that_cancels(shop: Shop) -> None:
    run = await shop.waits.start(Order(3))
    await shop.app.push("stopped", scope="s")
    with pytest.raises(TaskCancelled, match="waits"):
        await run.result()
    assert await statuses(run) == {"both": "CANCELLED"}


async def test_cancelling_takes_the_children_along(shop: Shop) -> None:
    run = await shop.slow.start(Order(1))
    await asyncio.wait_for(shop.inside.wait(), 20)
    assert await statuses(run) == {"before": "COMPLETED", "spawn": "RUNNING"}
    spawn = (await run.tasks())["spawn"]
    assert spawn.id != run.id
    assert await run.cancel(children=True)
    with pytest.raises(TaskCancelled):
        await run.result()

    async def cancelled() -> None:
        from treadle.wire.gen.treadle.v1 import runs_pb2

        gateway = shop.app.gateway
        request = runs_pb2.ListRunsRequest(parent_id=spawn.id)
        listed = await gateway.call(
            "list", lambda: gateway.unary("/treadle.v1.Runs/List", request, repeatable=True), lambda found: found
        )
        assert {each.task: RunStatus(each.status).name for each in listed.runs} == {
            "orders": "COMPLETED",
            "patient": "CANCELLED",
        }

    await eventually(cancelled)


async def test_a_workflow_is_a_child_like_any_run(shop: Shop) -> None:
    shop.gate.set()
    result = await shop.slow.run(Order(1))
    assert result.output(shop.spawn) == ["patience", "thanks for 77"]


async def test_the_smallest_workflows(shop: Shop) -> None:
    result = await shop.single.run()
    assert result.output(shop.only) is None
    assert (await shop.nothing.run()).output(shop.reader) == "None"


async def test_many_at_a_time(shop: Shop) -> None:
    results = await shop.orders.run_many(Order(n) for n in range(100))
    assert [result.output(shop.thank) for result in results] == [f"thanks for {n}" for n in range(100)]


async def test_a_worker_of_several_processes(engine_process: EngineProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_TOKEN", engine_process.token)
    monkeypatch.setenv("TREADLE_URL", engine_process.grpc_address)
    from tests.sdk.workflow_app import Job, app, failed, gather, spread

    worker = Worker(app, processes=3)
    running = asyncio.create_task(worker.run())
    await asyncio.wait_for(worker.wait_ready(), 30)
    try:
        runs = await spread.start_many([*(Job(number) for number in range(10)), Job(99, fail=True)])
        await app.push("go", Job(5))
        outputs = [(await run.result()).output(gather) for run in runs[:-1]]
        assert [output["numbers"] for output in outputs] == [[number] * 6 for number in range(10)]
        assert {output["went"] for output in outputs} == {5}
        pids = {pid for output in outputs for pid in output["pids"]}
        assert len(pids) == 3
        assert os.getpid() not in pids
        result = await runs[-1].outcome()
        assert result.output(failed) == {"gather": "job 99"}
    finally:
        await worker.stop()
        await running
        await asyncio.to_thread(app.close)
