"""Registrations that are refused, and the field that is blamed."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.wire.registrations import Request, base, conditions, parent, request, sleep, task
from treadle.model.errors import InvalidInput
from treadle.wire.definitions import workflow_from_proto
from treadle.wire.gen.hatchet.v1 import workflows_pb2 as pb
from treadle.wire.gen.hatchet.v1.shared import condition_pb2, trigger_pb2


def _label(**settings: Any) -> dict[str, trigger_pb2.DesiredWorkerLabels]:
    return {"gpu": trigger_pb2.DesiredWorkerLabels(**settings)}


def _event(key: str, seconds: int | None = None) -> condition_pb2.TaskConditions:
    event = condition_pb2.UserEventMatchCondition(base=base(), user_event_key=key)
    if seconds is not None:
        event.consider_events_since.seconds = seconds
    return conditions(events=[event])


REFUSED: list[tuple[str, Callable[[], Request]]] = [
    ("name", lambda: Request(name="", tasks=[task()])),
    ("name", lambda: Request(name="a b", tasks=[task()])),
    ("tasks", lambda: Request(name="a")),
    ("description", lambda: request(description="a\0b")),
    ("tasks[0].action", lambda: request(pb.CreateTaskOpts(readable_id="a", action="a"))),
    ("tasks[0].action", lambda: request(pb.CreateTaskOpts(readable_id="a", action="a::b"))),
    ("tasks[0].action", lambda: request(pb.CreateTaskOpts(readable_id="a", action="a:b:c:d"))),
    ("tasks[1].readable_id", lambda: request(task("a"), task(""))),
    ("tasks[1].readable_id", lambda: request(task("a"), task("a"))),
    ("tasks[2].timeout", lambda: request(task("a"), task("b"), task("c", timeout="5"))),
    ("tasks[0].timeout", lambda: request(task(timeout="0h"))),
    ("tasks[0].schedule_timeout", lambda: request(task(schedule_timeout="-5s"))),
    ("tasks[0].retries", lambda: request(task(retries=-1))),
    ("tasks[0].backoff_factor", lambda: request(task(backoff_factor=0.5))),
    ("tasks[0].backoff_factor", lambda: request(task(backoff_factor=1000.5))),
    ("tasks[0].backoff_factor", lambda: request(task(backoff_factor=float("nan")))),
    ("tasks[0].backoff_factor", lambda: request(task(backoff_factor=float("inf")))),
    ("tasks[0].backoff_max_seconds", lambda: request(task(backoff_max_seconds=0))),
    ("tasks[0].backoff_max_seconds", lambda: request(task(backoff_max_seconds=86_401))),
    ("tasks[0].slot_requests['default']", lambda: request(task(slot_requests={"default": 0}))),
    ("tasks[0].slot_requests", lambda: request(task(slot_requests={"a b": 1}))),
    ("tasks[0].parents[0]", lambda: request(task(parents=["other"]))),
    ("tasks[0].parents", lambda: request(task("a", parents=["a"]))),
    ("tasks[0].parents", lambda: request(task("a", parents=["b"]), task("b", parents=["a"]))),
    ("tasks[0].worker_labels['gpu']", lambda: request(task(worker_labels=_label()))),
    ("tasks[0].worker_labels['gpu']", lambda: request(task(worker_labels=_label(str_value="a", int_value=1)))),
    (
        "tasks[0].worker_labels['gpu'].comparator",
        lambda: request(task(worker_labels=_label(str_value="a", comparator=trigger_pb2.LESS_THAN))),
    ),
    (
        "tasks[0].worker_labels['gpu'].comparator",
        lambda: request(task(worker_labels=_label(int_value=1, comparator=99))),
    ),
    ("tasks[0].rate_limits[0].key", lambda: request(task(rate_limits=[pb.CreateTaskRateLimit()]))),
    (
        "tasks[0].rate_limits[0].units",
        lambda: request(task(rate_limits=[pb.CreateTaskRateLimit(key="a", units=-1)])),
    ),
    (
        "tasks[0].rate_limits[0].limit_values_expr",
        lambda: request(task(rate_limits=[pb.CreateTaskRateLimit(key="a", key_expr="input.a")])),
    ),
    ("tasks[0].concurrency[0].expression", lambda: request(task(concurrency=[pb.Concurrency(max_runs=1)]))),
    (
        "tasks[0].concurrency[0].max_runs",
        lambda: request(task(concurrency=[pb.Concurrency(expression="'a'", max_runs=0)])),
    ),
    ("concurrency.max_runs", lambda: request(concurrency=pb.Concurrency(expression="'a'", max_runs=-1))),
    (
        "concurrency_arr[0].name",
        lambda: request(concurrency_arr=[pb.Concurrency(expression="'a'", is_tenant_scoped=True)]),
    ),
    (
        "concurrency_arr[1].limit_strategy",
        lambda: request(
            concurrency_arr=[
                pb.Concurrency(expression="'a'"),
                pb.Concurrency(expression="'a'", limit_strategy=pb.ConcurrencyLimitStrategy.ValueType(77)),
            ]
        ),
    ),
    ("tasks[0].batch.batch_max_size", lambda: request(task(batch=pb.TaskBatchConfig()))),
    ("tasks[0].batch.batch_max_size", lambda: request(task(batch=pb.TaskBatchConfig(batch_max_size=100_001)))),
    (
        "tasks[0].batch.batch_max_interval_ms",
        lambda: request(task(batch=pb.TaskBatchConfig(batch_max_size=1, batch_max_interval_ms=0))),
    ),
    (
        "tasks[0].batch.batch_group_max_runs",
        lambda: request(task(batch=pb.TaskBatchConfig(batch_max_size=1, batch_group_max_runs=10_001))),
    ),
    (
        "tasks[0].conditions.sleep_conditions[0].sleep_for",
        lambda: request(task(conditions=conditions(sleeps=[sleep("5 minutes")]))),
    ),
    (
        "tasks[0].conditions.sleep_conditions[0].base.action",
        lambda: request(task(conditions=conditions(sleeps=[sleep("5s", action=9)]))),
    ),
    (
        "tasks[0].conditions.parent_override_conditions[0]",
        lambda: request(task(conditions=conditions(parents=[parent("other")]))),
    ),
    (
        "tasks[0].parents",
        lambda: request(task("a", conditions=conditions(parents=[parent("b")])), task("b", parents=["a"])),
    ),
    (
        "tasks[0].conditions.user_event_conditions[0].user_event_key",
        lambda: request(task(conditions=_event(""))),
    ),
    (
        "tasks[0].conditions.user_event_conditions[0].consider_events_since",
        lambda: request(task(conditions=_event("a", seconds=2**60))),
    ),
    ("on_failure_task.timeout", lambda: request(on_failure_task=task("b", timeout="x"))),
    ("on_failure_task.readable_id", lambda: request(task("a"), on_failure_task=task("a"))),
    ("on_failure_task.parents", lambda: request(task("a"), on_failure_task=task("b", parents=["a"]))),
    (
        "on_failure_task.conditions",
        lambda: request(on_failure_task=task("b", conditions=conditions(sleeps=[sleep("1s")]))),
    ),
    ("default_priority", lambda: request(default_priority=0)),
    ("default_priority", lambda: request(default_priority=4)),
    ("sticky", lambda: request(sticky=pb.StickyStrategy.ValueType(5))),
    ("event_triggers[1]", lambda: request(event_triggers=["a", ""])),
    ("event_triggers[0]", lambda: request(event_triggers=["x" * 1025])),
    ("event_triggers[0]", lambda: request(event_triggers=["a\0"])),
    ("cron_triggers[0]", lambda: request(cron_triggers=["every day"])),
    ("cron_input", lambda: request(cron_input="{")),
    ("cron_input", lambda: request(cron_input="[]")),
    ("default_filters[0].payload", lambda: request(default_filters=[pb.DefaultFilter(payload=b"1")])),
    ("input_json_schema", lambda: request(input_json_schema=b"\xff")),
    ("idempotency.expression", lambda: request(idempotency=pb.IdempotencyConfig(ttl_ms=1))),
    ("idempotency.ttl_ms", lambda: request(idempotency=pb.IdempotencyConfig(expression="input.a"))),
    (
        "idempotency.method",
        lambda: request(
            idempotency=pb.IdempotencyConfig(expression="a", ttl_ms=1, method=pb.IdempotencyMethod.ValueType(4))
        ),
    ),
]


@pytest.mark.parametrize(("field", "build"), REFUSED, ids=[f"{i}-{field}" for i, (field, _) in enumerate(REFUSED)])
def test_what_is_wrong_is_named(field: str, build: Callable[[], Request]) -> None:
    with pytest.raises(InvalidInput) as caught:
        workflow_from_proto(build())
    assert re.fullmatch(re.escape(field) + r"(\[0\])?", caught.value.field)


def test_a_cycle_is_spelled_out() -> None:
    circle = request(task("a", parents=["c"]), task("b", parents=["a"]), task("c", parents=["b"]))
    with pytest.raises(InvalidInput, match="wait for each other: a -> b -> c -> a"):
        workflow_from_proto(circle)
