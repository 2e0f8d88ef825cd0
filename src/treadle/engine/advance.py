"""Advance: what has happened in a commit moves the workflow runs that it is about, until nothing follows any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.conditions import Pushed
from treadle.engine.moves import Moves

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from treadle.engine.batch import Batch
    from treadle.engine.catalog import Catalog
    from treadle.engine.moves import Fact
    from treadle.engine.workflow import WorkflowRun, Workflows
    from treadle.storage.database import Connect


async def advance(
    batch: Batch, overslept: Sequence[Fact], *, workflows: Workflows, catalog: Catalog, connect: Connect
) -> None:
    """Carry out what follows from runs that begin, tasks that have ended, sleeps that are over, and events.

    Args:
        batch: the commit.
        overslept: sleeps that are over.
        workflows: the runs in memory.
        catalog: registered task kinds.
        connect: begins its transaction; called only if a table must be asked.
    """
    moves = Moves(catalog, batch)
    pushed = Pushed(batch)
    facts = [*overslept, *await pushed.meet_waiting(catalog, connect)]
    runs = await workflows.load(
        [
            *((ended.kind.tenant_id, ended.run_id) for ended in batch.steps_ended if ended.run_id is not None),
            *((fact.tenant_id, fact.run_id) for fact in facts),
        ],
        catalog,
        connect,
    )
    begun = [workflows.begin(root) for root in batch.begun]
    await workflows.load_judged_inputs(begun, connect)
    for run in begun:
        runs[run.id] = run
        moves.begin(run)
    for ended in batch.steps_ended:
        moves.ended(runs[ended.run_id or ""], ended)
    _meet(facts, runs, moves)
    changes = moves.changes
    while changes.fresh:
        fresh, changes.fresh = changes.fresh, []
        _meet(await pushed.meet_fresh(fresh, connect), {run.id: run for run, _ in fresh}, moves)


def _meet(facts: Iterable[Fact], runs: dict[str, WorkflowRun], moves: Moves) -> None:
    """All facts about one task together: several at a time are no matter of their order."""
    by_task: dict[tuple[str, int], list[Fact]] = {}
    for fact in facts:
        by_task.setdefault((fact.run_id, fact.step), []).append(fact)
    for (run_id, step), of_task in by_task.items():
        moves.meet(runs[run_id], step, of_task)
