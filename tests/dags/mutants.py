"""Engines with a planted bug each, to see that the worlds catch them. Nothing but a test can reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.engine.changes import Changes
from treadle.engine.conditions import Pushed
from treadle.engine.running import Running
from treadle.engine.workflow import Workflows
from treadle.model.dag import Progress, StepState
from treadle.scheduler.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from treadle.engine.attempt import Attempt
    from treadle.engine.workflow import WorkflowRun
    from treadle.model.dag import Move, Verdict
    from treadle.storage.database import Conn


def forgets_what_was_met(patch: pytest.MonkeyPatch) -> None:
    """What has come for a task that waits for more is known in memory only."""
    patch.setattr(Changes, "meet", lambda *_: None)


def leaves_children_of_skipped(patch: pytest.MonkeyPatch) -> None:
    """Nobody tells the children of a skipped task."""
    spread = Progress._spread

    def mutant(self: Progress, ended: list[int], verdict: Verdict, moves: list[Move]) -> None:
        spread(self, [step for step in ended if self.states[step] != StepState.SKIPPED], verdict, moves)

    patch.setattr(Progress, "_spread", mutant)


def deaf_in_the_same_commit(patch: pytest.MonkeyPatch) -> None:
    """A task does not notice events of the commit in which it begins to wait."""
    meet_fresh = Pushed.meet_fresh

    async def mutant(self: Pushed, *args: Any) -> object:
        self._by_key = {}
        return await meet_fresh(self, *args)

    patch.setattr(Pushed, "meet_fresh", mutant)


def repeats_attempts(patch: pytest.MonkeyPatch) -> None:
    """A replayed task comes to be with the attempt that it had."""
    come_later = Changes.come_later

    def mutant(self: Changes, run: WorkflowRun, step: int, attempt: int) -> None:
        come_later(self, run, step, attempt - 1)

    patch.setattr(Changes, "come_later", mutant)


def sleeps_on_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    """Nobody wakes the sleeps that another loop has begun."""

    async def mutant(self: Timers, conn: Conn) -> None:
        await self.reload_expiry(conn)
        await self.reload_backoff(conn)

    patch.setattr(Timers, "load", mutant)


def leaves_conditions(patch: pytest.MonkeyPatch) -> None:
    """What a task has waited for stays registered."""

    def mutant(self: Changes, run: WorkflowRun, step: int) -> None:
        if run.met.pop(step, None) is not None:
            self.registered.pop((run.kind.tenant_id, run.task_id(step)), None)

    patch.setattr(Changes, "wait_no_more", mutant)


def takes_reports_of_any_attempt(patch: pytest.MonkeyPatch) -> None:
    """The number of an attempt fences nothing."""
    current = Running.current

    def mutant(self: Running, tenant_id: int, task_id: str, attempt: int) -> Attempt | None:
        del attempt
        return current(self, tenant_id, task_id, 0)

    patch.setattr(Running, "current", mutant)


def keeps_outputs_of_replayed(patch: pytest.MonkeyPatch) -> None:
    """A task that has run again gives its children what it had returned before."""

    def mutant(self: WorkflowRun, step: int, output: bytes | None) -> None:
        if step not in self.outputs:
            self.outputs[step] = output or b"{}"

    from treadle.engine.workflow import WorkflowRun as Run

    patch.setattr(Run, "keep_output", mutant)
    patch.setattr(Run, "forget_output", lambda *_: None)


def gives_up_too_much(patch: pytest.MonkeyPatch) -> None:
    """A run that memory has given up is taken for one that has just begun."""
    read_conditions = Workflows._read_conditions

    async def mutant(places: Any, states: Any, conn: Conn) -> None:
        await read_conditions(places[:-1], states, conn)

    patch.setattr(Workflows, "_read_conditions", staticmethod(mutant))


MUTANTS: tuple[Callable[[pytest.MonkeyPatch], None], ...] = (
    forgets_what_was_met,
    leaves_children_of_skipped,
    deaf_in_the_same_commit,
    repeats_attempts,
    sleeps_on_after_a_restart,
    leaves_conditions,
    takes_reports_of_any_attempt,
    keeps_outputs_of_replayed,
    gives_up_too_much,
)
