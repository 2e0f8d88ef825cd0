"""What attempts need to know before they are delivered and that is not at hand: inputs, and what their parents gave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.catalog import plan_of
from treadle.engine.workflow import NO_OUTPUT
from treadle.model.ids import step_id
from treadle.model.states import SKIPPED_OUTPUT, RunStatus
from treadle.storage import assign as rows
from treadle.storage import workflow as workflow_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from treadle.engine.attempt import Attempt
    from treadle.engine.workflow import Workflows
    from treadle.storage.database import Conn


async def load_missing(items: Iterable[Attempt], workflows: Workflows, conn: Conn) -> None:
    """Read inputs that were too large to keep with the queue; for tasks of workflow runs, also what came before them."""
    # Most runs have their input and are runs of their own.
    missing = [item for item in items if item.input is None or item.run_id is not None]
    if not missing:
        return
    await _load_inputs([item for item in missing if item.input is None], workflows, conn)
    steps = [item for item in missing if item.run_id is not None]
    if steps:
        await _load_outputs(steps, workflows, conn)
        await _load_errors(steps, conn)


async def _load_inputs(items: Sequence[Attempt], workflows: Workflows, conn: Conn) -> None:
    unknown = []
    for item in items:
        run = workflows.find(item.workflow_run_id)
        item.input = None if run is None else run.root.input
        if item.input is None:
            unknown.append(item)
    if unknown:
        # Tasks of a workflow run share the input of the run.
        ids = {item.workflow_run_id: item.kind.tenant_id for item in unknown}
        inputs = await rows.load_inputs(conn, tenant_ids=list(ids.values()), ids=list(ids))
        for item in unknown:
            item.input = inputs[item.workflow_run_id]


async def _load_outputs(items: Sequence[Attempt], workflows: Workflows, conn: Conn) -> None:
    """Give each task the outputs of its parents, by name."""
    unknown: list[tuple[dict[str, bytes], str, int, str]] = []
    for item in items:
        plan = plan_of(item.kind)
        run = workflows.find(item.workflow_run_id)
        item.parents = outputs = dict[str, bytes]()
        for parent in plan.parents[item.kind.step]:
            name = plan.names[parent]
            output = None if run is None else run.output(parent)
            # At once even when it is not known yet, to keep the parents in order.
            outputs[name] = output or NO_OUTPUT
            if output is None:
                unknown.append((outputs, name, item.kind.tenant_id, step_id(item.workflow_run_id, parent)))
    if unknown:
        found = await workflow_rows.load_outputs(
            conn, tenant_ids=[tenant_id for _, _, tenant_id, _ in unknown], ids=[task_id for *_, task_id in unknown]
        )
        for place, status, output in found:
            outputs, name, _, _ = unknown[place]
            outputs[name] = SKIPPED_OUTPUT if status == RunStatus.SKIPPED else output or NO_OUTPUT


async def _load_errors(items: Sequence[Attempt], conn: Conn) -> None:
    """Tell each failure handler what has failed so far, by name."""
    asked: list[tuple[dict[str, str], str, int, str]] = []
    for item in items:
        plan = plan_of(item.kind)
        if plan.on_failure == item.kind.step:
            item.errors = errors = dict[str, str]()
            asked += [
                (errors, name, item.kind.tenant_id, step_id(item.workflow_run_id, step))
                for step, name in enumerate(plan.names)
                if step != plan.on_failure
            ]
    if asked:
        found = await workflow_rows.load_errors(
            conn, tenant_ids=[tenant_id for _, _, tenant_id, _ in asked], ids=[task_id for *_, task_id in asked]
        )
        for place, error in found:
            errors, name, _, _ = asked[place]
            errors[name] = error
