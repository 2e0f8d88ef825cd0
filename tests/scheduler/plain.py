"""Attempts and kinds made of thin air, for the scheduler's pure parts."""

from treadle.engine.attempt import RETRY_POSITIONS, Attempt
from treadle.engine.catalog import TaskKind
from treadle.model.definition import TaskDefinition, WorkflowDefinition
from treadle.model.ids import new_id
from treadle.storage.register import VersionRow

TENANT = 1

Need = tuple[tuple[str, int], ...]
ONE: Need = (("default", 1),)


def kind(queue_id: int = 1, need: Need = ONE, tenant_id: int = TENANT) -> TaskKind:
    task = TaskDefinition("job", "job:job", slot_requests=need)
    version = VersionRow(1, tenant_id, new_id(), new_id(), "", "{}")
    return TaskKind(version, WorkflowDefinition("job", (task,)), 0, queue_id)


def attempt(of: TaskKind, position: int, *, priority: int = 1, returning: bool = False, number: int = 1) -> Attempt:
    """A ready attempt that has its place."""
    item = Attempt(
        kind=of,
        task_id=new_id(),
        attempt=number,
        priority=priority,
        input=b"{}",
        metadata=None,
        parent_id=None,
        child_index=None,
        child_key=None,
        created_at=0.0,
    )
    item.returning = returning
    item.position = RETRY_POSITIONS + position if returning else position
    return item
