"""Scopes of event conditions: which events are meant for a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine import cel
from treadle.model.states import EventKind

if TYPE_CHECKING:
    from treadle.engine.batch import Batch
    from treadle.engine.workflow import WorkflowRun
    from treadle.model.definition import EventCondition

NO_EVENT = ""
"""The scope that no event has: an event without one has none, not an empty one."""


def scope_of(run: WorkflowRun, step: int, condition: EventCondition, note_in: Batch | None = None) -> str | None:
    """The scope that an event must have to meet a condition of a run; None when any will do.

    An expression that fails leaves a condition that nothing meets, and is noted in the commit, if one is given.
    """
    expression = condition.scope_expression
    if expression is None:
        return condition.scope
    root = run.root
    known = cel.run_variables(input=root.input, metadata=root.metadata, workflow_run_id=run.id)
    try:
        return cel.evaluate_text(expression, known)
    except cel.ExpressionFailed as problem:
        if note_in is not None:
            detail = f"scope of {condition.data_key}: {problem.reason}"
            attempt = run.later.get(step, 1)
            note_in.note(EventKind.EXPRESSION_FAILED, run.kind.tenant_id, run.task_id(step), attempt, detail)
        return NO_EVENT
