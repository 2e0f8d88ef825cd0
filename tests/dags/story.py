"""One workflow run, as its commits have told of it. What has happened in which commit decides how it must end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.dags.tales import Tale, comes, ends, looks_back, meets
from tests.model.dag_reference import GONE_WELL, Outcome, outcome, replayed
from treadle.model.dag import StepState
from treadle.model.definition import EventCondition, SleepCondition
from treadle.model.states import RunStatus
from treadle.runtime.clock import moment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from random import Random

    from tests.dags.tales import Told
    from treadle.engine.ports import Ended


class Story:
    """A run of a tale.

    Its steps are those of the plan. A step is *open* from the commit in which the last of its parents has gone well: from
    then on its sleeps and events count.

    Attributes:
        number: What tells it from other runs.
        run_id: Its id, once it was asked for.
        begun: Whether it is there.
        status: How it has ended, if it has.
        ended: Its steps that have ended.
        cancelled: Names of the tasks that someone has cancelled before they had ended.
        hopes: What may still come true for its open steps, by place: when a sleep is over, None for an event.
    """

    def __init__(self, rng: Random, number: int, tale: Tale) -> None:
        self.number = number
        self.tale = tale
        self.plan = tale.plan
        self.fates = tale.fates(rng)
        self.run_id = ""
        self.created_at = 0.0
        self.begun = False
        self.status: RunStatus | None = None
        self.ended: dict[int, RunStatus] = {}
        self.cancelled: set[str] = set()
        self.hopes: dict[int, dict[int, float | None]] = {}
        self._opened: set[int] = set()
        # For each open step what has come true since it is open, together what came in the same commit.
        self._happened: dict[int, list[tuple[int, ...]]] = {}
        # Steps to be looked at in the next commit: they may be open then.
        self._fresh: set[int] = set()

    # -- what commits tell ------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The run begins in the next commit that is told of."""
        assert not self.begun, f"run {self.number} begins twice"
        self.begun = True
        self._fresh = {step for step in range(len(self.plan)) if step != self.plan.on_failure}

    def take(
        self, now: float, results: Iterable[Ended], pushed: Sequence[Told], earlier: Mapping[str, Sequence[Told]]
    ) -> int:
        """Take in a commit.

        Args:
            now: Its time.
            results: Ends in it of this run and its tasks.
            pushed: Events in it.
            earlier: Events of all commits before it, by key.

        Returns:
            how many events of this very commit came for tasks that began to wait in it.
        """
        for ended in results:
            if ended.run_id is None:
                assert self.status is None, f"run {self.number} ends twice"
                self.status = ended.status
                continue
            step = ended.kind.step
            assert step not in self.ended, f"{self.plan.names[step]} of run {self.number} ends twice"
            self.ended[step] = ended.status
            self._fresh.update(self.plan.children[step])
        fresh = {step for step in self._fresh if self._opens(step)}
        self._fresh = set()
        for step in fresh:
            self._open(step, now)
        races = 0
        for step, hopes in list(self.hopes.items()):
            came = {place for place, due in hopes.items() if due is not None and moment(due) <= moment(now)}
            events = {place for place in hopes if self._meets(pushed, step, place)}
            races += len(events) if step in fresh else 0
            came |= events
            if step in fresh:
                came |= {place for place in hopes if self._has_met(earlier, step, place)}
            if came:
                self._happened.setdefault(step, []).append(tuple(sorted(came)))
            for place in came:
                del hopes[place]
            if not hopes or step in self.ended:
                del self.hopes[step]
        return races

    def _opens(self, step: int) -> bool:
        return step not in self._opened and all(
            self.ended.get(parent) in _GONE_WELL for parent in self.plan.parents[step]
        )

    def _open(self, step: int, now: float) -> None:
        self._opened.add(step)
        hopes = {
            place: now + condition.duration_ms / 1000 if isinstance(condition, SleepCondition) else None
            for place, condition in enumerate(self.plan.timed(step))
        }
        if hopes:
            self.hopes[step] = hopes

    def _meets(self, told: Iterable[Told], step: int, place: int) -> bool:
        condition = self.plan.timed(step)[place]
        return isinstance(condition, EventCondition) and any(meets(each, condition, self.number) for each in told)

    def _has_met(self, earlier: Mapping[str, Sequence[Told]], step: int, place: int) -> bool:
        condition = self.plan.timed(step)[place]
        if not isinstance(condition, EventCondition) or not looks_back(condition):
            return False
        told = earlier.get(condition.event_key, ())
        return self._meets([each for each in told if moment(each.at) >= moment(self.created_at)], step, place)

    # -- what someone does to it --------------------------------------------------------------------------------------

    def cancel(self, steps: Iterable[int] | None = None) -> None:
        """These steps are cancelled in the next commit that is told of; by default all that have not ended."""
        chosen = range(len(self.plan)) if steps is None else steps
        self.cancelled.update(self.plan.names[step] for step in chosen if self.is_unended(step))

    def replay(self, rng: Random, steps: Collection[int], *, whole: bool) -> None:
        """The run, or these steps with all that follows, start over in the next commit that is told of."""
        states = {name: self._state(step) for step, name in enumerate(self.plan.names)}
        chosen = replayed(self.tale.workflow, states) if whole else set()
        if steps:
            chosen |= replayed(self.tale.workflow, states, *(self.plan.names[step] for step in steps))
        fates = self.tale.fates(rng)
        self.fates.update((name, fates[name]) for name in chosen)
        self.cancelled -= chosen
        self.status = None
        for step in (self.plan.names.index(name) for name in chosen):
            self._opened.discard(step)
            for known in (self.ended, self._happened, self.hopes):
                known.pop(step, None)
            if step != self.plan.on_failure:
                self._fresh.add(step)

    # -- what can be asked --------------------------------------------------------------------------------------------

    @property
    def armed(self) -> bool:
        """Whether the failure handler is called."""
        return any(status is RunStatus.FAILED for step, status in self.ended.items() if step != self.plan.on_failure)

    def is_unended(self, step: int) -> bool:
        """Whether the run waits for a step: for a failure handler only once it was called."""
        return step not in self.ended and (step != self.plan.on_failure or self.armed)

    def may_run(self, step: int) -> bool:
        """Whether a step can be at work, as far as its parents are concerned."""
        return step not in self.ended and (self.armed if step == self.plan.on_failure else step in self._opened)

    def owed(self) -> Iterator[tuple[int, EventCondition]]:
        """Events that open steps are still to get, with the steps."""
        for step, hopes in self.hopes.items():
            fate = comes(self.fates[self.plan.names[step]])
            for place in hopes:
                condition = self.plan.timed(step)[place]
                if place in fate and isinstance(condition, EventCondition):
                    yield step, condition

    def next_due(self) -> float | None:
        """When the next sleep of an open step is over, of those that are to be waited for."""
        return min(
            (
                due
                for step, hopes in self.hopes.items()
                for place, due in hopes.items()
                if due is not None and ends(self.plan.timed(step)[place])
            ),
            default=None,
        )

    def places_met(self, step: int) -> set[int]:
        """What has come for a step so far."""
        return {place for places in self._happened.get(step, ()) for place in places}

    def expected(self) -> Outcome:
        """How it must have ended, after all that has happened, by the rules."""
        fates = {
            name: replace(self.fates[name], facts=tuple(self._happened.get(step, ())))
            for step, name in enumerate(self.plan.names)
        }
        return outcome(self.tale.workflow, fates, self.cancelled)

    def _state(self, step: int) -> StepState:
        status = self.ended.get(step)
        if status is not None:
            return StepState(status)
        return StepState.LIVE if step == self.plan.on_failure and self.armed else StepState.BLOCKED


_GONE_WELL = frozenset(RunStatus(state) for state in GONE_WELL)
