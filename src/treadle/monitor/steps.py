"""Workflow runs with their tasks: put together from the rows of those that have come to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import orjson

from treadle.engine.catalog import RUN_STEP
from treadle.engine.expire import NOT_STARTED
from treadle.engine.ports import StepEnd
from treadle.model.ids import step_ids as id_maker
from treadle.model.states import RunStatus
from treadle.storage import read as rows
from treadle.storage.outcome import with_steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from treadle.engine.catalog import Catalog, TaskKind
    from treadle.storage.database import Conn
    from treadle.storage.read import RunRow

_IDS_AT_ONCE = 2000

WITH_OUTPUT = frozenset({RunStatus.COMPLETED, RunStatus.SKIPPED})
"""Tasks that ended like this have something to give."""


class Step(NamedTuple):
    """A task of a workflow run, by the name that it has there."""

    name: str
    row: RunRow


class WholeRun(NamedTuple):
    """A run, or a task of a workflow run, with payloads; `steps` are those of a workflow run that have come to be.

    A task that was replayed, and waits for others again, has not.
    """

    kind: TaskKind
    row: RunRow
    steps: Sequence[Step]

    @property
    def is_workflow(self) -> bool:
        """Whether it is a run of several tasks."""
        return self.kind.step == RUN_STEP


def step_ids(catalog: Catalog, run_id: str, version: int) -> list[str]:
    """The ids that the tasks of a workflow run have, or will have; its version must have been loaded."""
    plan = catalog.kind(version, RUN_STEP).plan
    return [] if plan is None else [*map(id_maker(run_id), range(len(plan)))]


async def whole_run(conn: Conn, catalog: Catalog, *, tenant_id: int, id: str) -> WholeRun | None:  # noqa: A002 - the column's name
    """All that is known of a run or task; None when there is none of this id.

    A workflow run and its tasks are read in one statement: what they say fits together.
    """
    found = await rows.bare_rows(conn, tenant_id=tenant_id, ids=[id], payloads=True)
    if not found:
        return None
    row = found[0]
    await catalog.load_versions(conn, [row.version])
    kind = catalog.kind(row.version, row.step)
    if kind.step == RUN_STEP:
        ids = [id, *step_ids(catalog, id, row.version)]
        found = await rows.bare_rows(conn, tenant_id=tenant_id, ids=ids, payloads=True)
        steps = _steps(catalog, [each for each in found if each.id != id])
        # The later look counts; a run whose day has just been forgotten is as it was.
        row = next((each for each in found if each.id == id), row)
        return WholeRun(kind, with_steps(row, [step.row for step in steps]), steps)
    if row.run_id is not None:
        # Its input is that of its run, and stands there.
        runs = await rows.bare_rows(conn, tenant_id=tenant_id, ids=[row.run_id], payloads=True)
        row = row._replace(input=runs[0].input if runs else None)
    return WholeRun(kind, row, ())


async def steps_of(
    conn: Conn, catalog: Catalog, *, tenant_id: int, runs: Mapping[str, int], payloads: bool
) -> dict[str, list[Step]]:
    """The tasks of workflow runs, which are given with their versions, in the order of their definition."""
    await catalog.load_versions(conn, runs.values())
    ids = [task_id for run_id, version in runs.items() for task_id in step_ids(catalog, run_id, version)]
    found: dict[str, list[Step]] = {run_id: [] for run_id in runs}
    for first in range(0, len(ids), _IDS_AT_ONCE):
        chunk = ids[first : first + _IDS_AT_ONCE]
        for step in _steps(catalog, await rows.bare_rows(conn, tenant_id=tenant_id, ids=chunk, payloads=payloads)):
            found[step.row.run_id or ""].append(step)
    return found


def _steps(catalog: Catalog, found: Sequence[RunRow]) -> list[Step]:
    return [
        Step(catalog.kind(row.version, row.step).definition.readable_id, row)
        for row in sorted(found, key=lambda row: row.step)
        if not row.to_come_again
    ]


def ends_of(steps: Iterable[Step]) -> list[StepEnd]:
    """How tasks have ended, or where they are."""
    return [
        StepEnd(name, row.id, row.status, row.attempt, row.output, row.error, row.finished_at) for name, row in steps
    ]


def named_outputs(ends: Iterable[StepEnd]) -> bytes:
    """What a workflow run gives: a JSON object with the output of each task that has completed."""
    outputs = [
        orjson.dumps(end.name) + b":" + (end.output or b"null") for end in ends if end.status is RunStatus.COMPLETED
    ]
    return b"{" + b",".join(outputs) + b"}"


def fitting(ends: Sequence[StepEnd], room: int) -> Sequence[StepEnd]:
    """The tasks as one message of about `room` bytes can hold them: without outputs that are too large, which it says."""
    if sum(len(end.output or b"") + 4 * len(end.error or "") for end in ends) <= room:
        return ends
    fitted = []
    for end in ends:
        output, error = end.output or b"", end.error or ""
        shown = end
        if len(output) > room:
            shown = end._replace(output=None, error=too_large_here(output))
        else:
            if 4 * len(error) > room:
                shown = end._replace(error=error[: room // 4])
            room = max(room - len(output) - 4 * len(shown.error or ""), 0)
        fitted.append(shown)
    return fitted


def without_reasons(ends: Iterable[StepEnd]) -> list[StepEnd]:
    """The tasks as clients of the Hatchet contract know them: an error of a cancelled one is a failure to them.

    So that a task was cancelled because of others, or was meant to be, is no error there; that it was never started is.
    """
    return [
        end._replace(error="")
        if end.status is RunStatus.CANCELLED and not (end.error or "").startswith(NOT_STARTED)
        else end
        for end in ends
    ]


def too_large_here(output: bytes) -> str:
    """What stands in the place of an output that a message cannot hold."""
    return f"the output of {len(output)} bytes is too large for this stream; fetch the run instead"
