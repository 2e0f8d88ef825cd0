from datetime import UTC, datetime

from tests.wire.registrations import Request, base, conditions, parent, request, sleep, task
from treadle.model.definition import (
    Batch,
    Concurrency,
    ConcurrencyStrategy,
    ConditionAction,
    Conditions,
    DefaultFilter,
    DesiredLabel,
    EventCondition,
    Idempotency,
    IdempotencyMethod,
    LabelComparator,
    ParentCondition,
    RateLimit,
    RateWindow,
    SleepCondition,
    StickyStrategy,
    content_hash,
)
from treadle.wire.convert import hatchet_time
from treadle.wire.definitions import workflow_from_proto
from treadle.wire.gen.hatchet.v1 import workflows_pb2 as pb
from treadle.wire.gen.hatchet.v1.shared import condition_pb2, trigger_pb2


def test_what_is_not_said_takes_its_default() -> None:
    found = workflow_from_proto(request())
    assert found.name == "Images"
    assert (found.default_priority, found.sticky, found.cron_input) == (1, None, None)
    only = found.tasks[0]
    assert (only.timeout_ms, only.schedule_timeout_ms, only.retries) == (60_000, 300_000, 0)
    assert only.slot_requests == (("default", 1),)
    assert only.conditions is None
    assert only.batch is None


def test_a_durable_task_takes_a_durable_slot() -> None:
    found = workflow_from_proto(request(task(is_durable=True)))
    assert found.tasks[0].slot_requests == (("durable", 1),)


def test_plain_settings_of_a_task() -> None:
    found = workflow_from_proto(
        request(
            task(
                timeout="1m30s",
                schedule_timeout="2h",
                retries=3,
                backoff_factor=1.1,
                backoff_max_seconds=60,
                slot_requests={"gpu": 1, "default": 2},
            )
        )
    ).tasks[0]
    assert (found.timeout_ms, found.schedule_timeout_ms, found.retries) == (90_000, 7_200_000, 3)
    assert (found.backoff_factor, found.backoff_max_seconds) == (1.1, 60)
    assert found.slot_requests == (("default", 2), ("gpu", 1))


def test_actions_are_lower_cased_and_names_are_not() -> None:
    message = request(pb.CreateTaskOpts(readable_id="ReSize", action="NS:Images:ReSize"))
    found = workflow_from_proto(message).tasks[0]
    assert (found.readable_id, found.action) == ("ReSize", "ns:images:resize")


def test_plain_settings_of_a_workflow() -> None:
    found = workflow_from_proto(
        request(
            description="d",
            version="v",
            event_triggers=["photo:*", "photo:*", "b"],
            cron_triggers=["@Daily", "* * * * *"],
            cron_input='{"a": 1}',
            sticky=pb.HARD,
            default_priority=3,
            default_filters=[
                pb.DefaultFilter(expression="input.a == 1", scope="s", payload=b'{"k": 1}'),
                pb.DefaultFilter(expression="", scope="s", payload=b"null"),
            ],
            input_json_schema=b'{"type": "object"}',
            idempotency=pb.IdempotencyConfig(expression="input.id", ttl_ms=5, method=pb.STATUS),
        )
    )
    assert (found.description, found.version) == ("d", "v")
    assert found.event_triggers == ("photo:*", "b")
    assert found.cron_triggers == ("@daily", "* * * * *")
    assert found.cron_input == '{"a": 1}'
    assert found.sticky is StickyStrategy.HARD
    assert found.default_priority == 3
    assert found.default_filters == (
        DefaultFilter("input.a == 1", "s", '{"k": 1}'),
        DefaultFilter("", "s", None),
    )
    assert found.input_json_schema == '{"type": "object"}'
    assert found.idempotency == Idempotency("input.id", 5, IdempotencyMethod.STATUS)


def test_concurrency_in_its_old_and_new_form_is_the_same() -> None:
    limit = pb.Concurrency(expression="input.a", max_runs=2, limit_strategy=pb.GROUP_ROUND_ROBIN)
    wanted = (Concurrency("input.a", 2, ConcurrencyStrategy.GROUP_ROUND_ROBIN),)
    for settings in ({"concurrency": limit}, {"concurrency_arr": [limit]}):
        assert workflow_from_proto(request(**settings)).concurrency == wanted
    both = request(concurrency=limit, concurrency_arr=[limit, pb.Concurrency(expression="'b'")])
    assert workflow_from_proto(both).concurrency == (*wanted, Concurrency("'b'"))


def test_named_concurrency() -> None:
    limit = pb.Concurrency(expression="'a'", name="n", is_tenant_scoped=True, max_runs_expression="input.n")
    found = workflow_from_proto(request(task(concurrency=[limit]))).tasks[0].concurrency
    assert found == (Concurrency("'a'", name="n", is_tenant_scoped=True, max_runs_expression="input.n"),)


def test_rate_limits() -> None:
    limits = [
        pb.CreateTaskRateLimit(key="api"),
        pb.CreateTaskRateLimit(key="api", units=2, limit_values_expr="-1", duration=pb.SECOND),
        pb.CreateTaskRateLimit(key="k", key_expr="input.k", units_expr="input.n", limit_values_expr="10"),
    ]
    assert workflow_from_proto(request(task(rate_limits=limits))).tasks[0].rate_limits == (
        RateLimit("api", 1),
        RateLimit("api", 2, limit_expression="-1", window=RateWindow.SECOND),
        RateLimit("k", None, "input.k", "input.n", "10"),
    )


def test_worker_labels_are_sorted_by_key() -> None:
    labels = {
        "region": trigger_pb2.DesiredWorkerLabels(str_value="eu", required=True),
        "gpu": trigger_pb2.DesiredWorkerLabels(int_value=2, comparator=trigger_pb2.GREATER_THAN, weight=7),
    }
    assert workflow_from_proto(request(task(worker_labels=labels))).tasks[0].worker_labels == (
        DesiredLabel("gpu", 2, comparator=LabelComparator.GREATER_THAN, weight=7),
        DesiredLabel("region", "eu", required=True),
    )


def test_conditions() -> None:
    event = condition_pb2.UserEventMatchCondition(
        base=base(action=2, group="g2", expression="input.ok"),
        user_event_key="approved",
        event_scope="s",
        consider_events_since=hatchet_time(5_000_001),
    )
    message = conditions(
        parents=[parent("first", action=3, group="g1", expression="output.x > 1")],
        sleeps=[sleep("1m30s", group="g2"), sleep("5s", readable_data_key="pause")],
        events=[event],
    )
    found = workflow_from_proto(request(task("first"), task("second", parents=["first"], conditions=message)))
    assert found.tasks[1].conditions == Conditions(
        parents=(ParentCondition("first", "first", ConditionAction.SKIP, 0, "output.x > 1"),),
        sleeps=(
            SleepCondition(90_000, "sleep:1m30s", ConditionAction.QUEUE, 1),
            SleepCondition(5000, "pause", ConditionAction.QUEUE, 2),
        ),
        events=(EventCondition("approved", "approved", ConditionAction.CANCEL, 1, "input.ok", "s", 5_000_001),),
    )


def test_empty_conditions_are_none() -> None:
    assert workflow_from_proto(request(task(conditions=conditions()))).tasks[0].conditions is None


def test_what_an_sdk_makes_up_at_each_start_does_not_make_a_new_version() -> None:
    def start(group: str, moment: datetime) -> Request:
        stamp = moment.isoformat()
        message = conditions(
            parents=[
                parent("first", f"first:output.x:{stamp}", group=f"{group}1"),
                parent("first", f"first:{stamp}", group=f"{group}2"),
                parent("first", f"first:{stamp}", group=f"{group}3"),
            ],
            sleeps=[sleep("5s", group=f"{group}2")],
        )
        return request(task("first"), task("second", parents=["first"], conditions=message))

    one = workflow_from_proto(start("a", datetime(2026, 1, 2, tzinfo=UTC)))
    two = workflow_from_proto(start("b", datetime(2026, 5, 6, 7, 8, 9, 123, tzinfo=UTC)))
    assert one == two
    assert content_hash(one) == content_hash(two)
    found = one.tasks[1].conditions
    assert found is not None
    assert [each.data_key for each in found.parents] == ["first:output.x", "first", "first#2"]


def test_batch() -> None:
    message = pb.TaskBatchConfig(
        batch_max_size=10,
        batch_max_interval_ms=500,
        batch_group_key="input.k",
        batch_group_max_runs=3,
        broadcast_output=True,
    )
    assert workflow_from_proto(request(task(batch=message))).tasks[0].batch == Batch(10, 500, "input.k", 3, True)


def test_on_failure() -> None:
    found = workflow_from_proto(request(on_failure_task=task("cleanup")))
    assert found.on_failure is not None
    assert found.on_failure.readable_id == "cleanup"


def test_a_chain_of_thousands_of_tasks_is_accepted() -> None:
    chain = [task(f"t{number}", parents=[f"t{number - 1}"] if number else []) for number in range(3000)]
    assert len(workflow_from_proto(request(*chain)).tasks) == 3000
