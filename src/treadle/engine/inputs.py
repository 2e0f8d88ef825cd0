"""What attempts need to know before they are delivered: inputs, and what came before them in their workflow run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.catalog import plan_of
from treadle.engine.workflow import NO_OUTPUT
from treadle.model.ids import step_id
from treadle.model.states import SKIPPED_OUTPUT, RunStatus
from treadle.storage import assign as rows
from treadle.storage import workflow as workflow_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from treadle.engine.attempt import Attempt
    from treadle.engine.workflow import Workflows
    from treadle.storage.database import Conn


class Unknown:
    """What is not in memory and has to be read."""

    def __init__(self) -> None:
        self.inputs: list[Attempt] = []
        self.outputs: list[tuple[dict[str, bytes], str, int, str]] = []
        self.errors: list[tuple[dict[str, str], str, int, str]] = []

    def __bool__(self) -> bool:
        return bool(self.inputs or self.outputs or self.errors)


def give(items: Iterable[Attempt], workflows: Workflows) -> Unknown | None:
    """Give attempts what memory knows.

    Returns:
        what it does not know; None when there is nothing of the kind.
    """
    # Most runs have their input and are runs of their own.
    missing = [item for item in items if item.input is None or item.run_id is not None]
    if not missing:
        return None
    unknown = Unknown()
    for item in missing:
        run = workflows.find(item.workflow_run_id)
        if item.input is None:
            item.input = None if run is None else run.root.input
            if item.input is None:
                unknown.inputs.append(item)
        if item.run_id is not None:
            _give_outputs(item, workflows, unknown)
            _want_errors(item, unknown)
    return unknown or None


def _give_outputs(item: Attempt, workflows: Workflows, unknown: Unknown) -> None:
    """Give a task the outputs of its parents, by name."""
    plan = plan_of(item.kind)
    run_id = item.workflow_run_id
    run = workflows.find(run_id)
    item.parents = outputs = dict[str, bytes]()
    for parent in plan.parents[item.kind.step]:
        name = plan.names[parent]
        output = None if run is None else run.output(parent)
        # At once even when it is not known yet, to keep the parents in order.
        outputs[name] = output or NO_OUTPUT
        if output is None:
            unknown.outputs.append((outputs, name, item.kind.tenant_id, step_id(run_id, parent)))


def _want_errors(item: Attempt, unknown: Unknown) -> None:
    """A failure handler is told what has failed so far, by name."""
    plan = plan_of(item.kind)
    if plan.on_failure == item.kind.step:
        item.errors = errors = dict[str, str]()
        unknown.errors += [
            (errors, name, item.kind.tenant_id, step_id(item.workflow_run_id, step))
            for step, name in enumerate(plan.names)
            if step != plan.on_failure
        ]


async def load(unknown: Unknown | None, conn: Conn) -> None:
    """Read what memory did not know."""
    if unknown is None:
        return
    if unknown.inputs:
        # Tasks of a workflow run share the input of the run.
        ids = {item.workflow_run_id: item.kind.tenant_id for item in unknown.inputs}
        inputs = await rows.load_inputs(conn, tenant_ids=list(ids.values()), ids=list(ids))
        for item in unknown.inputs:
            item.input = inputs[item.workflow_run_id]
    if unknown.outputs:
        for place, status, output in await workflow_rows.load_outputs(
            conn,
            tenant_ids=[tenant_id for _, _, tenant_id, _ in unknown.outputs],
            ids=[task_id for *_, task_id in unknown.outputs],
        ):
            outputs, name, _, _ = unknown.outputs[place]
            outputs[name] = SKIPPED_OUTPUT if status == RunStatus.SKIPPED else output or NO_OUTPUT
    if unknown.errors:
        for place, error in await workflow_rows.load_errors(
            conn,
            tenant_ids=[tenant_id for _, _, tenant_id, _ in unknown.errors],
            ids=[task_id for *_, task_id in unknown.errors],
        ):
            errors, name, _, _ = unknown.errors[place]
            errors[name] = error
