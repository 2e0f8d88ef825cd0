"""Running workflows, and the code of their tasks, against the scripted engine."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from tests.support.eventually import eventually
from treadle import (
    BulkStartFailed,
    Context,
    NonRetryable,
    NotFound,
    RunStatus,
    TaskCancelled,
    TaskFailed,
    TaskSkipped,
    Treadle,
    event,
    sleep,
)
from treadle.model.states import SKIPPED_OUTPUT
from treadle.wire.gen.treadle.v1 import runs_pb2, worker_pb2

if TYPE_CHECKING:
    from tests.sdk.conftest import WorkerFactory
    from tests.sdk.peer import PeerEngine
    from tests.sdk.peer_state import PeerRun
    from treadle import Workflow

COMPLETED, FAILED, CANCELLED, SKIPPED = (
    runs_pb2.RUN_STATUS_COMPLETED,
    runs_pb2.RUN_STATUS_FAILED,
    runs_pb2.RUN_STATUS_CANCELLED,
    runs_pb2.RUN_STATUS_SKIPPED,
)


@dataclass
class Order:
    id: int


class Receipt(BaseModel):
    amount: int


class Shop:
    """A workflow with tasks of every shape."""

    def __init__(self, app: Treadle) -> None:
        self.flow: Workflow[Order] = app.workflow("Orders", input=Order)
        self.approved = event("approved", payload=Receipt)
        self.late = sleep(seconds=5)
        flow = self.flow

        @flow.task
        async def charge(order: Order) -> Receipt:
            return Receipt(amount=order.id)

        @flow.task
        def check() -> bool:
            return True

        @flow.task(parents=[charge, check], wait_for=self.approved | self.late)
        async def ship(ctx: Context, order: Order) -> dict[str, Any]:
            approved = ctx.event(self.approved)
            return {
                "order": order.id,
                "who": [ctx.workflow, ctx.task, ctx.run_id, ctx.task_id],
                "receipt": ctx.output(charge).amount,
                "check": ctx.output(check, "none"),
                "skipped": [ctx.skipped(charge), ctx.skipped(check)],
                "approved": None if approved is None else approved.amount,
                "late": ctx.met(self.late),
                "triggers": ctx.triggers,
            }

        @flow.task(parents=[ship])
        async def careless(ctx: Context) -> int:
            return ctx.output(charge).amount

        @flow.on_failure
        def refund(ctx: Context) -> dict[str, str]:
            return {name: f"{error.task}: {error.error_message}" for name, error in ctx.errors.items()}

        self.charge, self.check, self.ship, self.careless, self.refund = charge, check, ship, careless, refund


@pytest.fixture
def shop(app: Treadle) -> Shop:
    return Shop(app)


async def deliver(engine: PeerEngine, action: str, **fields: Any) -> worker_pb2.Completion | worker_pb2.Failure:
    """Have the worker run one task of a run; returns its report."""
    [session] = engine.sessions
    task_id = f"task-{action}"
    delivery = worker_pb2.Delivery(task_id=task_id, run_id="run-1", attempt=1, action=action, **fields)
    engine.do(lambda: session.send(deliveries=[delivery]))

    def report() -> worker_pb2.Completion | worker_pb2.Failure:
        found: list[worker_pb2.Completion | worker_pb2.Failure] = []
        for frame in session.frames:
            found += [each for each in frame.completed if each.task_id == task_id]
            found += [each for each in frame.failed if each.task_id == task_id]
        assert found
        return found[0]

    return await eventually(report)


async def output(engine: PeerEngine, action: str, **fields: Any) -> Any:
    report = await deliver(engine, action, **fields)
    assert isinstance(report, worker_pb2.Completion), report.error
    return json.loads(report.output)


async def failure(engine: PeerEngine, action: str, **fields: Any) -> worker_pb2.Failure:
    report = await deliver(engine, action, **fields)
    assert isinstance(report, worker_pb2.Failure), report.output
    return report


@pytest.mark.usefixtures("shop")
async def test_the_worker_offers_and_registers_all_tasks(
    engine: PeerEngine, app: Treadle, working: WorkerFactory
) -> None:
    @app.task
    def alone() -> None: ...

    async with working():
        [session] = engine.sessions
        assert list(session.hello.actions) == [
            "alone:alone",
            "orders:careless",
            "orders:charge",
            "orders:check",
            "orders:refund",
            "orders:ship",
        ]
        assert sorted(engine.definitions) == ["Orders", "alone"]
        assert len(engine.definitions["Orders"].tasks) == 4


@pytest.mark.usefixtures("shop")
async def test_tasks_see_what_came_before(engine: PeerEngine, working: WorkerFactory) -> None:
    async with working():
        assert await output(engine, "orders:charge", input=b'{"id":7}') == {"amount": 7}
        assert await output(engine, "orders:check", input=b'{"id":7}') is True
        found = await output(
            engine,
            "orders:ship",
            input=b'{"id":7}',
            parents={"charge": b'{"amount":3}', "check": SKIPPED_OUTPUT},
            triggers='{"approved": {"amount": 9}}',
        )
        assert found == {
            "order": 7,
            "who": ["Orders", "ship", "run-1", "task-orders:ship"],
            "receipt": 3,
            "check": "none",
            "skipped": [False, True],
            "approved": 9,
            "late": False,
            "triggers": {"approved": {"amount": 9}},
        }


@pytest.mark.usefixtures("shop")
async def test_failure_handlers_see_the_errors(engine: PeerEngine, working: WorkerFactory) -> None:
    async with working():
        errors = {"charge": "ValueError: no money\ntrace", "check": "the attempt timed out"}
        found = await output(engine, "orders:refund", errors=errors)
        assert found == {"charge": "Orders.charge: no money", "check": "Orders.check: the attempt timed out"}


@pytest.mark.usefixtures("shop")
async def test_mistakes_in_tasks_are_named(engine: PeerEngine, working: WorkerFactory) -> None:
    async with working():
        report = await failure(engine, "orders:careless", parents={"ship": b"{}"})
        assert "careless asks for the output of Orders.charge, which is not among its parents (ship)" in report.error
        report = await failure(engine, "orders:charge", input=b'{"id":"x"}')
        assert report.error.startswith("InvalidInput: Orders.id: ")
        assert report.should_not_retry
        report = await failure(engine, "orders:unknown")
        assert report.error == "LookupError: this worker has no task for orders:unknown"


async def test_a_parent_that_was_skipped_has_no_output(
    engine: PeerEngine, app: Treadle, working: WorkerFactory
) -> None:
    flow = app.workflow("flow")

    @flow.task
    def first() -> int:
        return 1

    @flow.task(parents=[first])
    def second(ctx: Context) -> int:
        return ctx.output(first)

    async with working():
        report = await failure(engine, "flow:second", parents={"first": SKIPPED_OUTPUT})
        assert "TaskSkipped: flow.first (run run-1) was skipped and has no output" in report.error


async def ended(engine: PeerEngine, run_id: str, status: int, *tasks: runs_pb2.TaskResult, error: str = "") -> None:
    def end() -> None:
        run = engine.runs[run_id]
        run.tasks = list(tasks)
        engine.end_run(run, status, output=b"{}", error=error)

    engine.do(end)


def task(name: str, status: int, output: bytes = b"", error: str = "") -> runs_pb2.TaskResult:
    return runs_pb2.TaskResult(
        name=name,
        task_id=f"task-{name}",
        status=status,  # type: ignore[arg-type] # a plain number
        output=output,
        error=error,
        attempt=2,
    )


async def test_the_result_of_a_run_that_completed(engine: PeerEngine, shop: Shop) -> None:
    run = await shop.flow.start(Order(1))
    sent = engine.runs[run.id].new
    assert (sent.task, sent.input) == ("Orders", b'{"id":1}')
    await ended(
        engine,
        run.id,
        COMPLETED,
        task("charge", COMPLETED, b'{"amount":5}'),
        task("check", SKIPPED, SKIPPED_OUTPUT),
        task("ship", COMPLETED, b'{"a":1}'),
    )
    result = await run.result()
    assert (result.status, result.workflow, result.run_id) == (RunStatus.COMPLETED, "Orders", run.id)
    assert result.output(shop.charge) == Receipt(amount=5)
    assert result.output(shop.ship) == {"a": 1}
    assert result.output(shop.check, default=None) is None
    assert result.skipped(shop.check)
    assert not result.skipped(shop.ship)
    with pytest.raises(TaskSkipped, match=r"Orders\.check"):
        result.output(shop.check)
    with pytest.raises(NotFound, match=r"Orders\.refund has not come to be"):
        result.output(shop.refund)
    ship = result.tasks["ship"]
    assert (ship.id, ship.status, ship.attempt, ship.output) == ("task-ship", RunStatus.COMPLETED, 2, {"a": 1})
    assert [(name, each.status.name) for name, each in (await run.tasks()).items()] == [
        ("charge", "COMPLETED"),
        ("check", "SKIPPED"),
        ("ship", "COMPLETED"),
    ]


async def test_a_run_that_failed_names_the_task(engine: PeerEngine, shop: Shop) -> None:
    run = await shop.flow.start(Order(1))
    await ended(
        engine,
        run.id,
        FAILED,
        task("charge", FAILED, error="KeyError: 'second'\ntrace"),
        task("check", FAILED, error="ValueError: first\ntrace"),
        task("ship", CANCELLED, error="a parent failed"),
        task("refund", COMPLETED, b"{}"),
        error="ValueError: first\ntrace",
    )
    with pytest.raises(TaskFailed, match=r"^Orders\.check \(run .*\) failed: ValueError: first$") as caught:
        await run.result()
    assert (caught.value.task, caught.value.error_type, caught.value.run_id) == ("Orders.check", "ValueError", run.id)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    result = await run.outcome()
    assert result.status is RunStatus.FAILED
    assert result.output(shop.refund) == {}
    with pytest.raises(TaskFailed, match=r"Orders\.charge .* KeyError"):
        result.output(shop.charge)
    with pytest.raises(TaskCancelled, match=r"Orders\.ship .*: a parent failed"):
        result.output(shop.ship)


async def test_a_run_that_was_cancelled_or_is_unknown(engine: PeerEngine, shop: Shop) -> None:
    run = await shop.flow.start(Order(1))
    assert await run.cancel(children=True)
    assert [request.children for name, request in engine.unary if isinstance(request, runs_pb2.SelectRuns)] == [True]
    with pytest.raises(TaskCancelled, match="Orders"):
        await run.result()
    with pytest.raises(NotFound):
        await shop.flow.attach("00000000-0000-7000-8000-00000000ffff").outcome()


async def test_a_workflow_of_one_plain_task_is_that_task(app: Treadle, working: WorkerFactory) -> None:
    single = app.workflow("single", input=Order)

    @single.task(name="single")
    async def only(order: Order) -> int:
        if not order.id:
            raise NonRetryable("zero")
        return order.id * 2

    async with working():
        result = await single.run(Order(4))
        assert result.output(only) == 8
        assert result.tasks["single"].id == result.run_id
        with pytest.raises(TaskFailed, match=r"single\.single .*NonRetryable: zero"):
            await single.run(Order(0))
        results = await single.run_many([Order(1), Order(0)], return_exceptions=True)
        assert [type(each).__name__ for each in results] == ["WorkflowResult", "TaskFailed"]


async def test_children_options_and_many(engine: PeerEngine, app: Treadle, shop: Shop, working: WorkerFactory) -> None:
    started: list[str] = []

    @app.task
    async def parent(n: int) -> int:
        runs = await shop.flow.start_many(Order(at) for at in range(n))
        keyed = await shop.flow.options(child_key="it", priority=3, metadata={"a": 1}).start(Order(9))
        alone = await shop.flow.options(detached=True).start(Order(10))
        started.extend(run.id for run in (*runs, keyed, alone))
        return n

    async with working():
        run = await parent.start(2)
        assert await run.result() == 2
        sent = [engine.runs[each].new for each in started]
    assert [each.parent_task_id for each in sent] == [run.id] * 3 + [""]
    assert [each.child_index for each in sent[:3]] == [0, 1, 2]
    assert (sent[2].child_key, sent[2].priority, sent[2].metadata) == ("it", 3, '{"a":1}')


async def test_replays(engine: PeerEngine, shop: Shop) -> None:
    run = await shop.flow.start(Order(1))
    await ended(engine, run.id, COMPLETED, task("charge", COMPLETED, b'{"amount":5}'))
    assert await run.replay()
    assert await run.replay(shop.charge)
    with pytest.raises(NotFound, match=r"Orders\.ship has not come to be"):
        await run.replay(shop.ship)
    asked = [list(request.ids) for name, request in engine.unary if isinstance(request, runs_pb2.SelectRuns)]
    assert asked == [[run.id], ["task-charge"]]


async def test_a_bulk_start_that_is_refused(app: Treadle) -> None:
    unknown = app.workflow("unknown", input=Order)

    @unknown.task
    def first() -> None: ...

    with pytest.raises(BulkStartFailed, match="2 of 2 runs were refused"):
        await unknown.start_many([Order(1), Order(2)])
    with pytest.raises(NotFound):
        await unknown.run(Order(1))


def test_plain_code_waits(engine: PeerEngine, shop: Shop) -> None:
    run = shop.flow.start(Order(3)).wait(10)
    made: PeerRun = engine.runs[run.id]
    engine.do(lambda: engine.end_run(made, COMPLETED))
    assert run.result().wait(timedelta(seconds=10)).status is RunStatus.COMPLETED
