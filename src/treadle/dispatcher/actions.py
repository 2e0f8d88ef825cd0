"""Attempts in the words of the Hatchet contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.wire.convert import hatchet_time
from treadle.wire.gen.hatchet import dispatcher_pb2 as pb

if TYPE_CHECKING:
    from treadle.engine.attempt import Attempt

_PAYLOAD_END = ',"parents":{},"triggers":{},"triggered_by":"manual","user_data":{},"overrides":{},"step_run_errors":{}}'


def assigned_action(attempt: Attempt, tenant: str) -> pb.AssignedAction:
    """An attempt to be run. The input goes through as it came, inside the payload's envelope."""
    kind = attempt.kind
    definition = kind.definition
    action = pb.AssignedAction(
        tenant_id=tenant,
        workflow_run_id=attempt.task_id,
        job_id=kind.version_id,
        job_name=definition.readable_id,
        job_run_id=attempt.task_id,
        task_id=kind.version_id,
        task_run_external_id=attempt.task_id,
        action_id=definition.action,
        action_type=pb.START_STEP_RUN,
        action_payload='{"input":' + (attempt.input or b"{}").decode() + _PAYLOAD_END,
        task_name=definition.readable_id,
        retry_count=attempt.attempt - 1,
        priority=attempt.priority,
        workflow_id=kind.workflow_id,
        workflow_version_id=kind.version_id,
        task_inserted_at=hatchet_time(int(attempt.created_at * 1_000_000)),
    )
    # Unset rather than empty or "null": the SDKs parse whatever is there.
    if attempt.metadata:
        action.additional_metadata = attempt.metadata
    if attempt.parent_id is not None:
        action.parent_workflow_run_id = attempt.parent_id
        if attempt.child_index is not None:
            action.child_workflow_index = attempt.child_index
        if attempt.child_key:
            action.child_workflow_key = attempt.child_key
    return action


def cancel_action(tenant: str, task_id: str, attempt: int) -> pb.AssignedAction:
    """A request to stop an attempt."""
    return pb.AssignedAction(
        tenant_id=tenant,
        workflow_run_id=task_id,
        job_run_id=task_id,
        task_run_external_id=task_id,
        action_type=pb.CANCEL_STEP_RUN,
        retry_count=max(attempt - 1, 0),
    )
