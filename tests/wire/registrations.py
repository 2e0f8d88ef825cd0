"""Short ways to write registrations."""

from typing import Any

from treadle.wire.gen.hatchet.v1 import workflows_pb2 as pb
from treadle.wire.gen.hatchet.v1.shared import condition_pb2

Request = pb.CreateWorkflowVersionRequest


def task(name: str = "resize", **settings: Any) -> pb.CreateTaskOpts:
    return pb.CreateTaskOpts(readable_id=name, action=f"images:{name}", **settings)


def request(*tasks: pb.CreateTaskOpts, **settings: Any) -> Request:
    return Request(name="Images", tasks=tasks or [task()], **settings)


def base(action: int = 1, group: str = "", **settings: str) -> condition_pb2.BaseMatchCondition:
    return condition_pb2.BaseMatchCondition(
        action=condition_pb2.Action.ValueType(action), or_group_id=group, **settings
    )


def conditions(
    *,
    parents: list[condition_pb2.ParentOverrideMatchCondition] | None = None,
    sleeps: list[condition_pb2.SleepMatchCondition] | None = None,
    events: list[condition_pb2.UserEventMatchCondition] | None = None,
) -> condition_pb2.TaskConditions:
    return condition_pb2.TaskConditions(
        parent_override_conditions=parents or [],
        sleep_conditions=sleeps or [],
        user_event_conditions=events or [],
    )


def parent(name: str, key: str = "", **settings: Any) -> condition_pb2.ParentOverrideMatchCondition:
    return condition_pb2.ParentOverrideMatchCondition(
        base=base(readable_data_key=key, **settings), parent_readable_id=name
    )


def sleep(duration: str, **settings: Any) -> condition_pb2.SleepMatchCondition:
    return condition_pb2.SleepMatchCondition(base=base(**settings), sleep_for=duration)
