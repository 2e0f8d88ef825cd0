"""Replay: what has ended runs again, under its own id and with the next attempt number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.attempt import attempt_from_columns
from treadle.engine.enqueue import INPUT_KEPT
from treadle.engine.fail import make_ready
from treadle.engine.moves import Moves
from treadle.engine.ports import StopReason
from treadle.engine.withdraw import withdraw
from treadle.model.dag import StepState
from treadle.model.states import EventKind
from treadle.storage import replay as rows
from treadle.storage import workflow as workflow_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from treadle.engine.batch import Batch
    from treadle.engine.catalog import Catalog
    from treadle.engine.running import Running
    from treadle.engine.workflow import WorkflowRun, Workflows
    from treadle.storage.database import Conn, Connect


async def replay(
    tenant_id: int,
    task_ids: list[str],
    *,
    running: Running,
    workflows: Workflows,
    catalog: Catalog,
    batch: Batch,
    connect: Connect,
) -> list[str]:
    """Take the results of these runs away and queue a new attempt of each, its retries fresh.

    Of a workflow run that has ended, what did not go well is reset, with all that follows; all of it if all went well.
    Of a task of a workflow run, that task is, with all that follows.

    Returns:
        what will run again; what has not ended, or is not the tenant's, is left alone.
    """
    conn = await connect()
    ids = list(dict.fromkeys(task_ids))
    ended = await rows.take_results(conn, ids=ids, tenant_id=tenant_id, input_limit=INPUT_KEPT)
    await catalog.load_versions(conn, (run.task.version for run in ended))
    for run in ended:
        attempt = attempt_from_columns(
            catalog.kind(run.task.version, run.task.step),
            task_id=run.task_id,
            attempt=run.attempt + 1,
            columns=run.task,
        )
        make_ready(attempt, batch)
        batch.note(EventKind.REPLAYED, tenant_id, run.task_id, attempt.attempt)
    replayed = [run.task_id for run in ended]
    rest = set(ids).difference(replayed)
    members = await workflow_rows.find_members(conn, tenant_id=tenant_id, ids=sorted(rest)) if rest else []
    if members:
        runs = await workflows.load(((tenant_id, member.run_id or member.id) for member in members), catalog, connect)
        chosen, found = _choose(members, runs)
        replayed += found
        if chosen:
            await _reset(tenant_id, chosen, running=running, moves=Moves(catalog, batch), batch=batch, conn=conn)
    return replayed


def _choose(
    members: Sequence[workflow_rows.Member], runs: Mapping[str, WorkflowRun]
) -> tuple[list[tuple[WorkflowRun, set[int]]], list[str]]:
    """Which steps of which runs are reset, and which of the members ask for it."""
    found = []
    whole: dict[str, None] = {}
    tasks: dict[str, list[int]] = {}
    for member in members:
        run = runs.get(member.run_id or member.id)
        if run is None:
            continue
        if member.run_id is None:
            if run.progress.finished:
                whole[run.id] = None
                found.append(member.id)
        elif run.state(member.step) >= StepState.COMPLETED:
            tasks.setdefault(run.id, []).append(member.step)
            found.append(member.id)
    chosen = []
    # In the order in which they were asked for, so that the same requests lead to the same history.
    for run_id in {**whole, **tasks}:
        run = runs[run_id]
        steps = run.progress.replayable() if run_id in whole else set()
        if run_id in tasks:
            steps |= run.progress.replayable_from(*tasks[run_id])
        chosen.append((run, steps))
    return chosen, found


async def _reset(
    tenant_id: int,
    chosen: Sequence[tuple[WorkflowRun, set[int]]],
    *,
    running: Running,
    moves: Moves,
    batch: Batch,
    conn: Conn,
) -> None:
    """Let these steps come to be again; those that are at work are withdrawn."""
    changes = moves.changes
    live: dict[str, tuple[WorkflowRun, int]] = {}
    over: dict[str, tuple[WorkflowRun, int]] = {}
    for run, steps in chosen:
        for step in steps:
            state = run.state(step)
            if state == StepState.LIVE:
                live[run.task_id(step)] = (run, step)
            elif state == StepState.WAITING:
                changes.wait_no_more(run, step)
            elif state >= StepState.COMPLETED:
                over[run.task_id(step)] = (run, step)
                run.forget_output(step)
    taken = await withdraw(tenant_id, list(live), StopReason.SUPERSEDED, running=running, batch=batch, conn=conn)
    attempts = {entry.task_id: entry.attempt for entry in taken}
    finished = [run.id for run, _ in chosen if run.progress.finished]
    attempts |= await workflow_rows.take_step_results(conn, tenant_id=tenant_id, ids=[*over, *finished])
    for run_id in finished:
        batch.note(EventKind.REPLAYED, tenant_id, run_id, attempts.pop(run_id))
    for task_id, attempt in attempts.items():
        run, step = over.get(task_id) or live[task_id]
        changes.come_later(run, step, attempt + 1)
        batch.note(EventKind.REPLAYED, tenant_id, task_id, attempt + 1)
    for run, steps in chosen:
        moves.reset(run, steps)
