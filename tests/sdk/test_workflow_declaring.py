"""Declaring workflows: what the engine is told, and what is refused where the mistake is made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from treadle import Backoff, Context, InvalidInput, TaskSkipped, Treadle, Worker, event, sleep
from treadle.sdk.worker.registration import definition_of
from treadle.wire.definitions import workflow_from_proto

if TYPE_CHECKING:
    from treadle import Workflow


@dataclass
class Order:
    id: int
    total: int = 0


class Receipt(BaseModel):
    order_id: int
    amount: int


class Note(TypedDict):
    text: str


@pytest.fixture
def app() -> Treadle:
    return Treadle("t", "h:1")


@pytest.fixture
def orders(app: Treadle) -> Workflow[Order]:
    return app.workflow("Orders", input=Order, description="Ships things", priority=2)


def test_the_engine_is_told_everything(app: Treadle, orders: Workflow[Order]) -> None:
    @orders.task(
        retries=2,
        backoff=Backoff(factor=3, max=timedelta(seconds=9)),
        timeout=timedelta(seconds=5),
        schedule_timeout=timedelta(hours=1),
        slots=3,
    )
    async def charge(order: Order) -> Receipt:
        return Receipt(order_id=order.id, amount=order.total)

    @orders.task(name="pack-it", parents=[charge])
    def pack(ctx: Context, order: Order) -> str:
        return f"{ctx.task} {order.id}"

    @orders.on_success(retries=1)
    def thank() -> None: ...

    @orders.task(parents=[charge])
    def tell(ctx: Context) -> None:
        ctx.log("told")

    @orders.on_failure
    def refund(ctx: Context, order: Order) -> None:
        ctx.log(order.id)

    read = workflow_from_proto(definition_of(orders))
    assert (read.name, read.description, read.default_priority) == ("Orders", "Ships things", 2)
    assert [(task.readable_id, task.action, task.parents) for task in read.tasks] == [
        ("charge", "orders:charge", ()),
        ("pack-it", "orders:pack-it", ("charge",)),
        ("tell", "orders:tell", ("charge",)),
        ("thank", "orders:thank", ("pack-it", "tell")),
    ]
    first = read.tasks[0]
    assert (first.retries, first.backoff_factor, first.backoff_max_seconds) == (2, 3.0, 9)
    assert (first.timeout_ms, first.schedule_timeout_ms, first.slot_requests) == (5000, 3_600_000, (("default", 3),))
    assert all(task.conditions is None for task in read.tasks)
    assert read.on_failure is not None
    assert (read.on_failure.readable_id, read.on_failure.action) == ("refund", "orders:refund")
    assert read.input_json_schema is not None
    assert '"total"' in read.input_json_schema
    assert sorted(app.actions()) == ["orders:charge", "orders:pack-it", "orders:refund", "orders:tell", "orders:thank"]


def test_functions_stay_functions(orders: Workflow[Order]) -> None:
    @orders.task
    def charge(order: Order) -> Receipt:
        return Receipt(order_id=order.id, amount=order.total)

    @orders.task
    def check(order: Order) -> bool:
        return order.total > 0

    approved = event("approved", payload=Note)
    late = sleep(hours=1)

    @orders.task(parents=[charge, check], wait_for=approved | late)
    def ship(ctx: Context, order: Order) -> str:
        note = ctx.event(approved)
        text = "late" if note is None else note["text"]
        return f"{order.id} {ctx.output(charge).amount} {ctx.output(check, None)} {text} {ctx.met(late)}"

    receipt = Receipt(order_id=1, amount=5)
    assert charge(Order(1, 5)) == receipt
    ctx = Context.fake(outputs={charge: receipt, check: True}, met={approved: {"text": "yes"}, late: None})
    assert ship(ctx, Order(1)) == "1 5 True yes False"
    ctx = Context.fake(outputs={charge: receipt}, skipped=[check], met={approved: None, late: {}})
    assert ship(ctx, Order(1)) == "1 5 None late True"
    assert ctx.skipped(check)
    assert not ctx.skipped(charge)
    with pytest.raises(TaskSkipped, match=r"Orders\.check \(run .*\) was skipped"):
        ctx.output(check)
    with pytest.raises(
        LookupError, match=r"test asks for the output of Orders\.ship, which is not among .*charge, check"
    ):
        ctx.output(ship)
    with pytest.raises(LookupError, match="not among its conditions"):
        ctx.event(event("other"))
    failed = Context.fake(errors={"charge": "ValueError: no\ntrace"}).errors["charge"]
    assert (failed.error_type, failed.error_message, failed.task) == ("ValueError", "no", "charge")


def test_inputs_of_all_kinds(app: Treadle) -> None:
    notes = app.workflow("notes", input=Note)
    plain = app.workflow("plain", input=dict[str, int])
    models = app.workflow("models", input=Receipt)
    nothing = app.workflow("nothing")

    @notes.task
    def a(note: Note) -> str:
        return note["text"]

    @plain.task
    def b(values: dict[str, int]) -> int:
        return sum(values.values())

    @models.task
    def c(receipt: BaseModel) -> str:
        return receipt.model_dump_json()

    @nothing.task
    def d(ctx: Context) -> str:
        return ctx.task

    @nothing.task
    def e() -> int:
        return 1

    @notes.task
    def f(ctx: Context, note: Note | None = None, extra: int = 3) -> int:
        return len(note["text"] if note else ctx.task) + extra

    inputs = {name: task.input for name, task in app.actions().items()}
    assert inputs["notes:a"].decode(b'{"text":"x"}') == (({"text": "x"},), {})
    assert inputs["notes:f"].decode(b'{"text":"x"}') == (({"text": "x"},), {})
    assert inputs["plain:b"].decode(b'{"a":1}') == (({"a": 1},), {})
    assert inputs["models:c"].decode(b'{"order_id":1,"amount":2}') == ((Receipt(order_id=1, amount=2),), {})
    assert inputs["nothing:d"].decode(b"{}") == inputs["nothing:e"].decode(b'{"x":1}') == ((), {})
    with pytest.raises(InvalidInput, match=r"notes\.text: Field required"):
        inputs["notes:a"].decode(b"{}")
    assert [name for name, task in app.actions().items() if task.takes_context] == ["notes:f", "nothing:d"]


def test_the_input_must_be_an_object(app: Treadle) -> None:
    with pytest.raises(TypeError, match="workflow bad: its input is of type int, which in JSON is a integer"):
        app.workflow("bad", input=int)
    with pytest.raises(TypeError, match="workflow bad: input of type object cannot travel"):
        app.workflow("bad", input=type("object", (), {}))
    assert app.workflows == {}


def test_names_are_taken_once(app: Treadle, orders: Workflow[Order]) -> None:
    @app.task
    def alone() -> None: ...

    @orders.task
    def charge() -> None: ...

    with pytest.raises(InvalidInput, match="workflow name: 'ORDERS' is taken by another workflow of this app"):
        app.workflow("ORDERS")
    with pytest.raises(InvalidInput, match="workflow name: 'Alone' is taken by another task of this app"):
        app.workflow("Alone")
    with pytest.raises(InvalidInput, match="task name: 'orders' is taken by another workflow of this app"):
        app.task(lambda: None, name="orders")  # type: ignore[call-overload]
    with pytest.raises(InvalidInput, match="task name: 'Charge' is taken by another task of workflow Orders"):
        orders.task(name="Charge")(lambda: None)
    with pytest.raises(InvalidInput, match="task name in workflow Orders: 'a b' may only hold"):
        orders.task(name="a b")(lambda: None)


def test_parents_are_tasks_of_the_same_workflow(app: Treadle, orders: Workflow[Order]) -> None:
    other = app.workflow("other", input=Order)

    @other.task
    def elsewhere() -> None: ...

    @orders.on_success
    def last() -> None: ...

    @orders.on_failure
    def refund() -> None: ...

    def make(**settings: Any) -> None:
        orders.task(name="ship", **settings)(lambda: None)

    with pytest.raises(ValueError, match=r"task Orders\.ship: its parent other\.elsewhere is no task of this workflow"):
        make(parents=[elsewhere])
    with pytest.raises(ValueError, match=r"task Orders\.ship: its parent other\.elsewhere is no task of this workflow"):
        make(skip_if=elsewhere.when("true"))
    with pytest.raises(TypeError, match=r"task Orders\.ship: 'charge' cannot be a parent"):
        make(parents=["charge"])
    with pytest.raises(ValueError, match=r"Orders\.last is the on_success task, which nothing can follow"):
        make(parents=[last])
    with pytest.raises(ValueError, match=r"Orders\.refund is the on_failure task, which nothing can follow"):
        make(parents=[refund])
    with pytest.raises(ValueError, match="workflow Orders has an on_failure task already: refund; again would be"):
        orders.on_failure(name="again")(lambda: None)
    with pytest.raises(ValueError, match="workflow Orders has an on_success task already: last"):
        orders.on_success(lambda: None, name="again")  # type: ignore[call-overload]
    assert sorted(orders.tasks) == ["last", "refund"]


def test_an_empty_workflow_is_refused_by_name(app: Treadle, orders: Workflow[Order]) -> None:
    @orders.on_failure
    def refund() -> None: ...

    @app.task
    def alone() -> None: ...

    for attempt in (lambda: orders.run(Order(1)), lambda: orders.start(Order(1)), lambda: Worker(app)):
        with pytest.raises(ValueError, match="workflow Orders has no tasks"):
            attempt()


def test_functions_that_do_not_fit_are_refused(orders: Workflow[Order]) -> None:
    def two(order: Order, other: int) -> None: ...
    def wrong(order: Receipt) -> None: ...
    def late(order: Order, ctx: Context) -> None: ...
    def keyword(*, order: Order) -> None: ...
    def bad() -> type[Context]: ...  # type: ignore[empty-body]

    for function, message in (
        (two, r"task Orders\.two takes other besides its input"),
        (wrong, r"task Orders\.wrong takes order as Receipt, but the input of its workflow is Order"),
        (late, r"task Orders\.late: the context 'ctx' must be the first parameter"),
        (keyword, r"task Orders\.keyword takes order besides its input"),
    ):
        with pytest.raises(TypeError, match=message):
            orders.task(function)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"task Orders\.bad: retries=-1 is negative"):
        orders.task(retries=-1)(bad)

    @orders.task
    def fine() -> None: ...

    with pytest.raises(ValueError, match=r"Orders\.fine\.when\(\.\.\.\): an expression has 1 to 4000 characters"):
        fine.when(" ")
    assert list(orders.tasks) == ["fine"]


def test_a_function_with_input_needs_a_workflow_with_one(app: Treadle) -> None:
    nothing = app.workflow("nothing")

    def takes(order: Order) -> None: ...

    with pytest.raises(TypeError, match=r"task nothing\.takes takes order, but its workflow has no input"):
        nothing.task(takes)  # type: ignore[arg-type]

    @nothing.task
    def task() -> None: ...

    with pytest.raises(InvalidInput, match="nothing: takes no input"):
        nothing.start(3)  # type: ignore[call-overload]


def test_inputs_are_checked_before_anything_is_sent(orders: Workflow[Order]) -> None:
    @orders.task
    def charge(order: Order) -> None: ...

    with pytest.raises(InvalidInput, match=r"Orders\.id: "):
        orders.run({"id": "x"})  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="Orders: "):
        orders.start_many([Order(1), None])  # type: ignore[list-item]
