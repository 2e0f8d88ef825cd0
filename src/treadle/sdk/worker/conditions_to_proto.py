"""The conditions of a task as the engine takes them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from treadle.sdk.conditions import EventCondition, SleepCondition, duration_text
from treadle.wire.convert import hatchet_time, us_of
from treadle.wire.gen.hatchet.v1.shared import condition_pb2

if TYPE_CHECKING:
    from google.protobuf import timestamp_pb2

    from treadle.sdk.conditions import Since
    from treadle.sdk.steps import StepConditions

_SINCE_RUN_US = 1
"""In 1970: any moment on its first day stands for the one at which the run began."""


def conditions_of(conditions: StepConditions) -> condition_pb2.TaskConditions:
    """The message. A condition that stands in several groups comes once for each, under one data key."""
    message = condition_pb2.TaskConditions()
    for action, label, groups in (
        (condition_pb2.QUEUE, "wait", conditions.wait_for),
        (condition_pb2.SKIP, "skip", conditions.skip_if),
        (condition_pb2.CANCEL, "cancel", conditions.cancel_if),
    ):
        for number, group in enumerate(groups):
            for atom in group:
                base = condition_pb2.BaseMatchCondition(action=action, or_group_id=f"{label}-{number}")
                if isinstance(atom, EventCondition):
                    base.readable_data_key = conditions.keys[atom]
                    base.expression = atom.where
                    message.user_event_conditions.add(
                        base=base,
                        user_event_key=atom.key,
                        event_scope=atom.scope,
                        consider_events_since=_timestamp(atom.since),
                    )
                elif isinstance(atom, SleepCondition):
                    base.readable_data_key = conditions.keys[atom]
                    message.sleep_conditions.add(base=base, sleep_for=duration_text(atom))
                else:
                    base.readable_data_key = atom.task.name
                    base.expression = atom.expression
                    message.parent_override_conditions.add(base=base, parent_readable_id=atom.task.name)
    return message


def _timestamp(since: Since) -> timestamp_pb2.Timestamp | None:
    if since == "wait":
        return None
    return hatchet_time(us_of(since) if isinstance(since, datetime) else _SINCE_RUN_US)
