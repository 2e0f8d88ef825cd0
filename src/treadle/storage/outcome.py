"""What becomes of a workflow run by what has become of its tasks, for rows that were read."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Protocol

from treadle.model.states import RunStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from treadle.storage.read import BegunRow, RunRow


def with_steps(run: RunRow, steps: Collection[BegunRow] | Collection[RunRow]) -> RunRow:
    """A workflow run as its tasks show it: running once one of them runs or has ended, failed as the first that did."""
    begun = [step for step in steps if step.status is not RunStatus.QUEUED]
    started = [step.started_at for step in begun if step.started_at is not None]
    return run._replace(
        status=RunStatus.RUNNING if begun and run.status is RunStatus.QUEUED else run.status,
        started_at=min(started, default=None),
        error=first_error(begun) if run.status is RunStatus.FAILED else run.error,
    )


class Outcome(Protocol):
    """How a task has ended, if it has."""

    @property
    def status(self) -> RunStatus: ...

    @property
    def finished_at(self) -> datetime | None: ...

    @property
    def error(self) -> str | None: ...


def first_error(steps: Iterable[Outcome]) -> str | None:
    """What went wrong in the task that failed first."""
    failed = [
        (step.finished_at, step.error)
        for step in steps
        if step.status is RunStatus.FAILED and step.finished_at is not None
    ]
    return min(failed, key=itemgetter(0))[1] if failed else None
