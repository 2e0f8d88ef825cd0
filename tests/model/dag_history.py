"""One run after another through a random history, each step of it checked, the end compared with the reference.

The history believes the moves only, as an engine does that keeps a run in tables: what the moves say must be what
``Progress`` holds, at any time, and enough to restore it.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tests.model.dag_generator import SKIPPED_OUTPUT, Fate, expression_holds, random_fates, random_workflow
from tests.model.dag_reference import outcome, replayed
from treadle.model.dag import Closed, Finished, Move, Progress, Ready, StepState, Wait
from treadle.model.plan import Plan
from treadle.model.states import RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from treadle.model.definition import ParentCondition, WorkflowDefinition

BLOCKED, WAITING, LIVE, COMPLETED, FAILED, CANCELLED, SKIPPED = StepState


class History:
    """A run of a workflow. All chance is the given one.

    Args:
        rng: What happens next.
        workflow: What runs.
        fates: What becomes of its tasks, at first; a replay makes new ones.
        kind: The rules under test.
        calm: Nobody cancels or replays anything, no engine forgets anything.
    """

    def __init__(
        self,
        rng: Random,
        workflow: WorkflowDefinition,
        fates: Mapping[str, Fate],
        *,
        kind: type[Progress] = Progress,
        calm: bool = False,
    ) -> None:
        self.rng = rng
        self.workflow = workflow
        self.fates = dict(fates)
        self.kind = kind
        # How likely before each happening: a restart, a late report, a cancelled task, a cancelled run, a replayed task.
        odds = ((0, 0.2), (0, 0.1), (0, 0.05), (0, 0.02), (0, 0.05))
        self.odds = [0.0] * len(odds) if calm else [rng.choice(choices) for choices in odds]
        self.plan = Plan(workflow)
        self.progress = kind(self.plan)
        # What the moves say.
        self.states = [BLOCKED] * len(self.plan)
        self.finished: RunStatus | None = None
        # Of waiting steps: what is registered, what of it was met, how many facts of its fate have passed.
        self.registered: dict[int, frozenset[int]] = {}
        self.met: dict[int, set[int]] = {}
        self.facts: dict[int, int] = {}
        # Names of tasks that someone cancelled before they had ended.
        self.cancelled: set[str] = set()

    def run(self, replays: int = 0) -> None:
        """Let everything happen that can, compare, and again after each replay of the whole run."""
        self._apply(self.progress.begin(self._verdict))
        assert self.progress.begin(self._verdict) == []
        self._exhaust()
        for _ in range(replays):
            if not self.progress.finished:
                return
            steps = self.progress.replayable()
            self._expect_replayed(steps)
            self._reset(steps)
            self._exhaust()

    def _exhaust(self) -> None:
        while self._happen():
            pass
        if not self.progress.finished:
            assert WAITING in self.states, "a run that waits for nothing has not ended"
        expected = outcome(self.workflow, self.fates, self.cancelled)
        found = {name: self.states[step] for step, name in enumerate(self.plan.names)}
        assert found == expected.states
        assert self.finished == expected.status
        for step, places in self.registered.items():
            assert places == expected.awaited[self.plan.names[step]]

    def _happen(self) -> bool:
        """One thing; False if nothing is left that could happen by itself."""
        rng = self.rng
        restart, late, cancel, cancel_run, replay = (rng.random() < chance for chance in self.odds)
        ended = [step for step, state in enumerate(self.states) if state >= COMPLETED]
        unended = [step for step in range(len(self.plan)) if self._open(step)]
        if restart:
            self._restart()
        if late and ended:
            assert self.progress.ended(rng.choice(ended), COMPLETED, self._verdict) == []
            assert self.progress.met(rng.choice(ended), [0], self._verdict) == []
        if cancel_run:
            self._cancel_run()
        elif cancel and unended:
            self._end(rng.choice(unended), CANCELLED)
        elif replay and ended and not self.finished:
            step = rng.choice(ended)
            steps = self.progress.replayable_from(step)
            self._expect_replayed(steps, self.plan.names[step])
            self._reset(steps)
        live = [step for step, state in enumerate(self.states) if state == LIVE]
        expecting = [step for step, passed in self.facts.items() if passed < len(self._fate(step).facts)]
        if not live and not expecting:
            return False
        step = rng.choice((*live, *expecting))
        if self.states[step] == LIVE:
            self._end(step, StepState(self._fate(step).status))
        else:
            self._meet(step)
        return True

    def _end(self, step: int, status: StepState) -> None:
        if status == CANCELLED:
            self.cancelled.add(self.plan.names[step])
        self._leave(step, status)
        self._apply(self.progress.ended(step, status, self._verdict))

    def _meet(self, step: int) -> None:
        """The next facts of the fate of a waiting step, as far as they are registered."""
        places = self.registered[step].intersection(self._fate(step).facts[self.facts[step]])
        self.facts[step] += 1
        self.met[step] |= places
        self._apply(self.progress.met(step, places, self._verdict))

    def _cancel_run(self) -> None:
        unended = {step for step in range(len(self.plan)) if self._open(step)}
        moves = self.progress.cancel_all()
        if self.finished:
            assert moves == []
        else:
            assert {move.step for move in moves if isinstance(move, Closed)} == unended
            assert isinstance(moves[-1], Finished)
            self.cancelled.update(self.plan.names[step] for step in unended)
            for step in unended:
                if self.states[step] == LIVE:
                    self.states[step] = BLOCKED  # stopped by the caller
        self._apply(moves)

    def _reset(self, steps: set[int]) -> None:
        names = {self.plan.names[step] for step in steps}
        fresh = random_fates(self.rng, self.workflow)
        self.fates.update((name, fresh[name]) for name in names)
        self.cancelled -= names
        for step in steps:
            self._leave(step, BLOCKED)
        self.finished = None
        self._apply(self.progress.reset(steps, self._verdict))

    def _expect_replayed(self, steps: set[int], *tasks: str) -> None:
        states = {name: self.states[step] for step, name in enumerate(self.plan.names)}
        assert {self.plan.names[step] for step in steps} == replayed(self.workflow, states, *tasks)

    def _restart(self) -> None:
        """Forget the run and restore it from what the moves said: nothing may have been lost."""
        restored = self.kind.restore(self.plan, self.states, self.met)
        for kept in ("states", "finished", "_running_parents", "_ended_as", "_unended", "_met"):
            assert getattr(restored, kept) == getattr(self.progress, kept), kept
        self.progress = restored

    def _apply(self, moves: list[Move]) -> None:
        """Take over what the moves say; each must be possible, and all together what the rules hold themselves."""
        for position, move in enumerate(moves):
            if isinstance(move, Finished):
                assert position == len(moves) - 1
                assert self.finished is None
                assert not any(self._open(step) for step in range(len(self.plan))), "ended before its tasks"
                self.finished = move.status
                continue
            before = self.states[move.step]
            if isinstance(move, Ready):
                assert before in (BLOCKED, WAITING)
                self._leave(move.step, LIVE)
            elif isinstance(move, Wait):
                assert before == BLOCKED
                self.states[move.step] = WAITING
                assert move.places
                assert len(set(move.places)) == len(move.places)
                self.registered[move.step] = frozenset(move.places)
                self.met[move.step] = set()
                self.facts[move.step] = 0
            else:
                assert before in (BLOCKED, WAITING)
                assert move.status in (SKIPPED, CANCELLED)
                assert move.reason
                self._leave(move.step, move.status)
        assert list(self.progress.states) == self.states
        assert self.progress.finished == (self.finished is not None)
        if self.finished:
            assert self.progress.status() == self.finished
        else:
            begun = any(state >= LIVE for state in self.states)
            assert self.progress.status() is (RunStatus.RUNNING if begun else RunStatus.QUEUED)

    def _leave(self, step: int, state: StepState) -> None:
        """Go on to a state; what was registered is no more."""
        self.states[step] = state
        for kept in (self.registered, self.met, self.facts):
            kept.pop(step, None)

    def _open(self, step: int) -> bool:
        """Whether the run waits for it: a failure handler that was not called is no part of the run."""
        return self.states[step] < COMPLETED and (step != self.plan.on_failure or self.states[step] == LIVE)

    def _fate(self, step: int) -> Fate:
        return self.fates[self.plan.names[step]]

    def _verdict(self, step: int, condition: ParentCondition) -> bool:
        parent = self.plan.names.index(condition.parent)
        assert parent in self.plan.parents[step]
        state = self.progress.states[parent]
        assert state in (COMPLETED, SKIPPED), "a parent is judged that has not gone well"
        output = SKIPPED_OUTPUT if state == SKIPPED else self.fates[condition.parent].output
        return expression_holds(condition.expression, output)


def live_through_all(seeds: Iterable[str], kind: type[Progress] = Progress) -> None:
    """A history for each seed, which alone makes the whole of it."""
    for seed in seeds:
        live_through(seed, Random(seed), kind=kind)


def live_through(
    seed: str, rng: Random, *, kind: type[Progress] = Progress, max_tasks: int = 60, replays: int = 2
) -> None:
    """A random run of a random workflow; a failed check tells the seed."""
    workflow = random_workflow(rng, max_tasks=max_tasks, never=rng.choice((0.0, 0.0, 0.2)))
    history = History(rng, workflow, random_fates(rng, workflow, never=rng.choice((0.0, 0.0, 0.2))), kind=kind)
    try:
        history.run(replays)
    except AssertionError as failure:
        failure.add_note(f"seed {seed}, {len(workflow.tasks)} tasks: {workflow}")
        raise


def seeds(base: int, count: int) -> Iterable[str]:
    """Seeds of that many histories."""
    return (f"{base}/{number}" for number in range(count))
