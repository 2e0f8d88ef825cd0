"""A worker that registers 120 workflows with every kind of setting the SDK can declare, and can run one: `ping`."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice
from typing import Any

from hatchet_sdk import (
    ConcurrencyExpression,
    ConcurrencyLimitStrategy,
    Context,
    DurableContext,
    EmptyModel,
    Hatchet,
    ParentCondition,
    Priority,
    RateLimit,
    RateLimitDuration,
    SleepCondition,
    StatusBasedIdempotencyConfig,
    StickyStrategy,
    TTLBasedIdempotencyConfig,
    UserEventCondition,
    WorkerLabelComparator,
    or_,
)
from hatchet_sdk.labels import DesiredWorkerLabel
from hatchet_sdk.runnables.types import BatchMemberId, DefaultFilter
from hatchet_sdk.runnables.workflow import BaseWorkflow
from pydantic import BaseModel, Field

WORKFLOWS = 120
PING = "ping"

# The SDK knows one more, QUEUE_OLDEST, which its own wire format has no value for.
STRATEGIES = [
    ConcurrencyLimitStrategy.CANCEL_IN_PROGRESS,
    ConcurrencyLimitStrategy.GROUP_ROUND_ROBIN,
    ConcurrencyLimitStrategy.CANCEL_NEWEST,
    ConcurrencyLimitStrategy.QUEUE_NEWEST,
    ConcurrencyLimitStrategy.CANCEL_QUEUED_EXCEPT_NEWEST,
    ConcurrencyLimitStrategy.CANCEL_QUEUED_EXCEPT_OLDEST,
]

Declaration = Callable[[Hatchet, int], BaseWorkflow[Any]]


class Order(BaseModel):
    """An input whose JSON schema goes along with the registration."""

    customer: str
    amount: float = Field(gt=0)
    lines: list[dict[str, int]] = []
    urgent: bool | None = None


async def nothing(given: EmptyModel, ctx: Context) -> dict[str, Any]:
    return {}


async def nothing_durable(given: EmptyModel, ctx: DurableContext) -> dict[str, Any]:
    return {}


async def nothing_ordered(given: Order, ctx: Context) -> dict[str, Any]:
    return {}


async def nothing_batched(given: dict[BatchMemberId, EmptyModel], ctx: Context) -> dict[BatchMemberId, dict[str, Any]]:
    return {member: {} for member in given}


def plain(hatchet: Hatchet, n: int) -> BaseWorkflow[Any]:
    return hatchet.task(
        name=f"plain-{n}",
        description="Does nothing, at length: " + "x" * n,
        version=f"v{n}",
        default_priority=Priority.HIGH if n % 2 else Priority.MEDIUM,
        retries=n % 5,
        backoff_factor=1.5 + n,
        backoff_max_seconds=60 + n,
        schedule_timeout=timedelta(minutes=1 + n),
        execution_timeout=timedelta(hours=1, minutes=n),
        slot_cost=1 + n % 4,
    )(nothing)


def triggered(hatchet: Hatchet, n: int) -> BaseWorkflow[Any]:
    return hatchet.task(
        name=f"triggered-{n}",
        on_events=[f"order:{n}", f"order:{n}:*", "*"],
        on_crons=["*/5 * * * *", f"{n % 60} 4 * * 1-5", "0 0 1 1 *"],
        input_validator=Order,
        cron_input=Order(customer="cron", amount=1.5),
        default_filters=[
            DefaultFilter(expression="input.amount > 10.0", scope=f"shop-{n}", payload={"big": True}),
            DefaultFilter(expression="payload.open && input.customer != ''", scope="all"),
        ],
        default_additional_metadata={"source": "declaration"},
    )(nothing_ordered)


def limited_workflow(hatchet: Hatchet, n: int) -> BaseWorkflow[Any]:
    workflow = hatchet.workflow(
        name=f"limited-{n}",
        concurrency=[
            ConcurrencyExpression(
                expression="input.customer",
                max_runs=1 + n,
                limit_strategy=STRATEGIES[n % len(STRATEGIES)],
            ),
            ConcurrencyExpression(
                expression="string(additional_metadata.region)",
                max_runs="input.tier == 'gold' ? 10 : 1",
                limit_strategy=STRATEGIES[(n + 1) % len(STRATEGIES)],
                name=f"by-region-{n}",
            ),
            ConcurrencyExpression(
                expression="'everybody'",
                max_runs=100,
                limit_strategy=ConcurrencyLimitStrategy.GROUP_ROUND_ROBIN,
                name="whole-tenant",
                is_tenant_scoped=True,
            ),
        ],
    )
    workflow.task(name="work")(nothing)
    return workflow


def limited_by_number(hatchet: Hatchet, n: int) -> BaseWorkflow[Any]:
    return hatchet.task(name=f"limited-by-number-{n}", concurrency=1 + n)(nothing)


def limited_task(hatchet: Hatchet, n: int) -> BaseWorkflow[Any]:
    workflow = hatchet.workflow(
        name=f"limited-task-{n}",
        concurrency=ConcurrencyExpression(
            expression="input.group", max_runs=2, limit_strategy=STRATEGIES[n % len(STRATEGIES)]
        ),
    )
    workflow.task(
        name="work",
        concurrency=[
            ConcurrencyExpression(expression="input.key", max_runs=3, limit_strategy=strategy)
            for strategy in STRATEGIES[: 1 + n % len(STRATEGIES)]
        ],
        rate_limits=[
            RateLimit(static_key=f"api-{n}", units=2),
            RateLimit(dynamic_key="input.customer", units="input.weight", limit=10, duration=RateLimitDuration.DAY),
            RateLimit(dynamic_key="'user:' + input.user", units=1, limit="input.limit * 2"),
        ],
    )(nothing)
    return workflow


def placed(hatchet: Hatchet, n: int) -> BaseWorkflow[Any]:
    return hatchet.task(
        name=f"placed-{n}",
        sticky=StickyStrategy.HARD if n % 2 else StickyStrategy.SOFT,
        desired_worker_labels=[
            DesiredWorkerLabel(key="model", value="large", required=n % 3 == 0, weight=10 + n),
            DesiredWorkerLabel(key="memory", value=100 + n, comparator=WorkerLabelComparator.GREATER_THAN_OR_EQUAL),
        ],
    )(nothing)


def durable(hatchet: Hatchet, n: int) -> BaseWorkflow[Any]:
    return hatchet.durable_task(name=f"durable-{n}", retries=n % 3, execution_timeout=timedelta(days=1))(
        nothing_durable
    )


def batch(hatchet: Hatchet, n: int) -> BaseWorkflow[Any]:
    return hatchet.batch_task(
        name=f"batch-{n}",
        batch_max_size=10 + n,
        batch_max_interval=timedelta(milliseconds=500 + n),
        batch_group_key="input.customer",
        batch_group_max_runs=1 + n,
    )(nothing_batched)


def unique(hatchet: Hatchet, n: int) -> BaseWorkflow[Any]:
    if n % 2:
        return hatchet.task(
            name=f"unique-{n}",
            idempotency=TTLBasedIdempotencyConfig(key_expression="input.id", ttl=timedelta(minutes=n)),
        )(nothing)
    return hatchet.task(
        name=f"unique-{n}",
        idempotency=StatusBasedIdempotencyConfig(
            key_expression="additional_metadata.key", fallback_ttl=timedelta(hours=1 + n)
        ),
    )(nothing)


def dag(hatchet: Hatchet, n: int) -> BaseWorkflow[Any]:
    workflow = hatchet.workflow(name=f"dag-{n}", input_validator=Order, on_events=[f"dag:{n}"])
    first = workflow.task(name="first")(nothing_ordered)
    second = workflow.task(name="second", wait_for=[SleepCondition(timedelta(seconds=10 + n))])(nothing_ordered)
    third = workflow.task(
        name="third",
        parents=[first, second],
        wait_for=[
            or_(
                SleepCondition(timedelta(minutes=1), readable_data_key="patience"),
                UserEventCondition(event_key=f"go:{n}", expression="input.approved", scope="shop"),
            ),
            UserEventCondition(event_key="always"),
        ],
        skip_if=[ParentCondition(first, expression="output.empty", readable_data_key="empty")],
        cancel_if=[
            or_(
                ParentCondition(second, expression="output.sum < 0", readable_data_key="negative"),
                UserEventCondition(event_key=f"stop:{n}"),
            )
        ],
    )(nothing_ordered)
    for leaf in range(n % 4):
        workflow.task(name=f"leaf-{leaf}", parents=[third], retries=leaf)(nothing_ordered)
    workflow.on_failure_task(name="clean-up", retries=2)(nothing_ordered)
    workflow.on_success_task(name="celebrate")(nothing_ordered)
    return workflow


FAMILIES: list[Declaration] = [
    plain,
    triggered,
    limited_workflow,
    limited_by_number,
    limited_task,
    placed,
    durable,
    batch,
    unique,
    dag,
]


def declare(hatchet: Hatchet) -> list[BaseWorkflow[Any]]:
    def one_after_another() -> Iterator[BaseWorkflow[Any]]:
        yield hatchet.task(name=PING)(nothing)
        for n in range(WORKFLOWS):
            yield FAMILIES[n % len(FAMILIES)](hatchet, n // len(FAMILIES))

    return list(islice(one_after_another(), WORKFLOWS))


def main() -> None:
    hatchet = Hatchet()
    hatchet.worker(
        "everything",
        slots=20,
        durable_slots=20,
        labels={"model": "large", "memory": 512},
        workflows=declare(hatchet),
    ).start()


if __name__ == "__main__":
    main()
