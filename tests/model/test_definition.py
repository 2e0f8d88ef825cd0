import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.model.definition import (
    Batch,
    Concurrency,
    ConditionAction,
    Conditions,
    DefaultFilter,
    DesiredLabel,
    Idempotency,
    RateLimit,
    SleepCondition,
    StickyStrategy,
    TaskDefinition,
    WorkflowDefinition,
    content_hash,
    definition_from_json,
    definition_to_json,
    unsupported_setting,
)

TASK = TaskDefinition(readable_id="resize", action="resize:resize")
PLAIN = WorkflowDefinition(name="resize", tasks=(TASK,))
SLEEP = SleepCondition(duration_ms=5, data_key="sleep:5ms", action=ConditionAction.QUEUE, or_group=0)


_texts = st.text(max_size=5)
_tasks = st.builds(
    TaskDefinition,
    readable_id=_texts,
    action=_texts,
    backoff_factor=st.none() | st.floats(1, 1000),
    parents=st.tuples(_texts),
    slot_requests=st.tuples(st.tuples(_texts, st.integers(1, 9))),
    is_durable=st.booleans(),
    concurrency=st.tuples(st.from_type(Concurrency)),
    rate_limits=st.tuples(st.from_type(RateLimit)),
    worker_labels=st.tuples(st.from_type(DesiredLabel)),
    conditions=st.none() | st.from_type(Conditions),
    batch=st.none() | st.from_type(Batch),
)
_workflows = st.builds(
    WorkflowDefinition,
    name=_texts,
    tasks=st.tuples(_tasks) | st.tuples(_tasks, _tasks),
    on_failure=st.none() | _tasks,
    sticky=st.none() | st.sampled_from(StickyStrategy),
    concurrency=st.tuples(st.from_type(Concurrency)),
    event_triggers=st.tuples(_texts),
    default_filters=st.tuples(st.from_type(DefaultFilter)),
    input_json_schema=st.none() | _texts,
    idempotency=st.none() | st.from_type(Idempotency),
)


@given(_workflows)
@settings(max_examples=40)
def test_every_kind_of_definition_survives_json(definition: WorkflowDefinition) -> None:
    text = json.dumps(definition_to_json(definition), allow_nan=False)
    again = definition_from_json(json.loads(text))
    assert again == definition
    assert content_hash(again) == content_hash(definition)


def test_the_hash_of_a_plain_definition_is_the_same_in_every_release() -> None:
    # A change here makes every workflow that is registered somewhere a new version.
    assert content_hash(PLAIN) == "4e7ba5f153394c9c74e6201c7252d298373b49285f26907a7da7ada5f89ec28e"


def test_the_description_is_not_part_of_the_hash() -> None:
    assert content_hash(dataclasses.replace(PLAIN, description="other")) == content_hash(PLAIN)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"version": "2"},
        {"default_priority": 2},
        {"tasks": (dataclasses.replace(TASK, retries=1),)},
        {"tasks": (dataclasses.replace(TASK, slot_requests=(("default", 2),)),)},
        {"tasks": (TASK, dataclasses.replace(TASK, readable_id="b"))},
        {"cron_triggers": ("* * * * *",)},
        {"input_json_schema": "{}"},
    ],
)
def test_what_changes_behaviour_changes_the_hash(change: dict[str, object]) -> None:
    assert content_hash(dataclasses.replace(PLAIN, **change)) != content_hash(PLAIN)  # type: ignore[arg-type]


def test_a_cost_of_one_slot_is_the_same_as_none_named() -> None:
    same = dataclasses.replace(TASK, slot_requests=(("default", 1),))
    assert content_hash(dataclasses.replace(PLAIN, tasks=(same,))) == content_hash(PLAIN)


def test_keys_of_a_newer_engine_are_ignored() -> None:
    values = definition_to_json(PLAIN)
    values["colour"] = "blue"
    values["tasks"][0]["colour"] = "red"
    assert definition_from_json(values) == PLAIN


@pytest.mark.parametrize(
    ("phrase", "workflow", "task"),
    [
        (None, {}, {}),
        (None, {"event_triggers": ("a",), "cron_triggers": ("@daily",)}, {"retries": 3}),
        ("concurrency", {"concurrency": (Concurrency("'a'"),)}, {}),
        ("concurrency", {}, {"concurrency": (Concurrency("'a'"),)}),
        ("rate_limits", {}, {"rate_limits": (RateLimit("k"),)}),
        ("a durable task", {}, {"is_durable": True}),
        (None, {}, {"conditions": Conditions(sleeps=(SLEEP,))}),
        ("batch", {}, {"batch": Batch(max_size=5)}),
        ("required worker labels", {}, {"worker_labels": (DesiredLabel("a", 1, required=True),)}),
        ("worker labels", {}, {"worker_labels": (DesiredLabel("a", 1),)}),
        ("sticky", {"sticky": StickyStrategy.SOFT}, {}),
        ("idempotency", {"idempotency": Idempotency("input.a", 5)}, {}),
        (None, {"on_failure": TASK}, {}),
        (None, {"tasks": (TASK, TASK)}, {}),
        ("a durable task", {"on_failure": dataclasses.replace(TASK, is_durable=True)}, {}),
    ],
)
def test_what_cannot_be_honoured_yet_is_named(
    phrase: str | None, workflow: dict[str, object], task: dict[str, object]
) -> None:
    changed = {"tasks": (dataclasses.replace(TASK, **task),)} | workflow  # type: ignore[arg-type]
    assert unsupported_setting(dataclasses.replace(PLAIN, **changed)) == phrase  # type: ignore[arg-type]
