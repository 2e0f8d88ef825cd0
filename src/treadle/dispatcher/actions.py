"""Attempts in the words of the Hatchet contract."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from treadle.model.ids import step_id
from treadle.wire.convert import PARENT_RUN, hatchet_time
from treadle.wire.gen.hatchet import dispatcher_pb2 as pb

if TYPE_CHECKING:
    from treadle.engine.attempt import Attempt
    from treadle.engine.catalog import TaskKind

_PAYLOAD_END = ',"parents":{},"triggers":{},"triggered_by":"manual","user_data":{},"overrides":{},"step_run_errors":{}}'


def assigned_action(attempt: Attempt, tenant: str) -> pb.AssignedAction:
    """An attempt to be run. The input goes through as it came, inside the payload's envelope."""
    kind = attempt.kind
    definition = kind.definition
    step = contract_step_id(kind)
    action = pb.AssignedAction(
        tenant_id=tenant,
        workflow_run_id=attempt.workflow_run_id,
        job_id=step,
        job_name=definition.readable_id,
        job_run_id=attempt.task_id,
        task_id=step,
        task_run_external_id=attempt.task_id,
        action_id=definition.action,
        action_type=pb.START_STEP_RUN,
        action_payload='{"input":' + (attempt.input or b"{}").decode() + _rest_of_payload(attempt),
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
        action.parent_workflow_run_id = _parent_run(attempt.metadata) or attempt.parent_id
        if attempt.child_index is not None:
            action.child_workflow_index = attempt.child_index
        if attempt.child_key:
            action.child_workflow_key = attempt.child_key
    return action


def _parent_run(metadata: str | None) -> str | None:
    """The run of a child's parent, which its metadata names: the parent itself may be one of the tasks of that run."""
    return None if metadata is None else json.loads(metadata).get(PARENT_RUN)


def contract_step_id(kind: TaskKind) -> str:
    """The id of a step of a workflow version, which only this contract knows; that of the version if it has one task."""
    return kind.version_id if kind.plan is None else step_id(kind.version_id, kind.step)


def _rest_of_payload(attempt: Attempt) -> str:
    if attempt.run_id is None:
        return _PAYLOAD_END
    parents = ",".join(
        f"{json.dumps(name)}:{json_object(output).decode()}" for name, output in (attempt.parents or {}).items()
    )
    return (
        f',"parents":{{{parents}}},"triggers":{attempt.triggers or "{}"},"triggered_by":"manual","user_data":{{}},'
        f'"overrides":{{}},"step_run_errors":{json.dumps(dict(attempt.errors or {}))}}}'
    )


def json_object(output: bytes | None) -> bytes:
    """An output where this contract wants an object: nothing is an empty one, and other values are put into one."""
    if not output or output.isspace() or output == b"null":
        return b"{}"
    return output if output.lstrip()[:1] == b"{" else b'{"value":' + output + b"}"


def cancel_action(tenant: str, task_id: str, attempt: int) -> pb.AssignedAction:
    """A request to stop an attempt. The SDKs know it by the task and the count of retries."""
    return pb.AssignedAction(
        tenant_id=tenant,
        workflow_run_id=task_id,
        job_run_id=task_id,
        task_run_external_id=task_id,
        action_type=pb.CANCEL_STEP_RUN,
        retry_count=max(attempt - 1, 0),
    )
