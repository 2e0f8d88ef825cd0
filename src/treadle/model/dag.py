"""How far a workflow run is, and what follows from each thing that happens to it.

Pure rules: nothing here knows of databases, workers or clocks. Whoever holds a ``Progress`` tells it what happened and
carries out the moves that it answers with.

A step waits for its parents. Any of them failed or cancelled: it is cancelled, and no condition changes that. All of
them skipped: it is skipped, unless its own ``skip_if`` looks at parents. Otherwise its conditions decide, ``skip_if``
before ``cancel_if`` before ``wait_for``; those that depend on time or events make it wait.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from treadle.model.definition import ParentCondition
from treadle.model.plan import Alternatives, Demands, Plan
from treadle.model.states import RunStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = ["Closed", "Finished", "Move", "Plan", "Progress", "Ready", "StepState", "Verdict", "Wait"]


class StepState(IntEnum):
    """Where a step is. Those that have ended have the numbers of ``RunStatus``."""

    # Waits for its parents; of the failure handler: nothing has failed.
    BLOCKED = 0
    # Its parents have ended; its sleeps and events are registered.
    WAITING = 1
    # Queued, running or waiting for its next attempt.
    LIVE = 2
    COMPLETED = 3
    FAILED = 4
    CANCELLED = 5
    SKIPPED = 6


Verdict = Callable[[int, ParentCondition], bool]
"""Whether the condition of that step holds for the output of its parent, which has ended. Must not raise."""


class Ready(NamedTuple):
    """The step is to be queued."""

    step: int


class Wait(NamedTuple):
    """The sleeps and events at these places (of ``Plan.timed``) are to be registered for the step."""

    step: int
    places: tuple[int, ...]


class Closed(NamedTuple):
    """The step ended, SKIPPED or CANCELLED, without having run to its end."""

    step: int
    status: StepState
    reason: str


class Finished(NamedTuple):
    """The run has ended. Always the last move."""

    status: RunStatus


Move = Ready | Wait | Closed | Finished

# Plain names: looking up a member of an enum is slow, and these are compared for every edge.
_BLOCKED: Final = StepState.BLOCKED
_WAITING: Final = StepState.WAITING
_LIVE: Final = StepState.LIVE
_COMPLETED: Final = StepState.COMPLETED
_FAILED: Final = StepState.FAILED
_CANCELLED: Final = StepState.CANCELLED
_SKIPPED: Final = StepState.SKIPPED

# What is left of the or-groups of an action once the parents have had their say: the places of the groups that still
# wait, or None if the action can never be taken.
_OpenGroups = tuple[tuple[int, ...], ...] | None


class _Hopes(NamedTuple):
    """What can still come true for a step whose parents have ended."""

    skip: _OpenGroups
    cancel: _OpenGroups
    queue: _OpenGroups

    def places(self) -> tuple[int, ...]:
        return tuple(sorted({place for left in self if left for group in left for place in group}))


class Progress:
    """The states of the steps of one run.

    A call costs in proportion to the steps that it moves and their edges, not to the size of the workflow; ``begin``
    and ``restore`` look at all of it once.

    Attributes:
        plan: The workflow.
        states: A ``StepState`` per step. To be read only.
        finished: Whether the run has ended.
    """

    __slots__ = ("_ended_as", "_hopes", "_met", "_running_parents", "_unended", "finished", "plan", "states")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.states = bytearray(len(plan))
        self.finished = False
        # For each step the number of its parents that have not ended.
        self._running_parents = [*plan.parent_counts]
        # Counted without the failure handler, which has no part in how the run ends.
        self._ended_as = [0] * len(StepState)
        self._unended = len(plan) - (plan.on_failure is not None)
        # Of waiting steps: the places met so far, and what they wait for (worked out again when needed).
        self._met: dict[int, set[int]] = {}
        self._hopes: dict[int, _Hopes] = {}

    @classmethod
    def restore(cls, plan: Plan, states: Sequence[int], met: Mapping[int, Collection[int]]) -> Progress:
        """A run as it was left: the state of each step, and for those that wait the places met so far."""
        progress = cls(plan)
        progress.states[:] = bytes(states)
        for step, state in enumerate(progress.states):
            if state >= _COMPLETED and step != plan.on_failure:
                progress._count(step, state, 1)
            elif state == _WAITING:
                progress._met[step] = set(met.get(step, ()))
        progress.finished = progress._has_ended()
        return progress

    def begin(self, verdict: Verdict) -> list[Move]:
        """Decide what needs no parents. Does nothing to a run that has begun."""
        if self.finished:
            return []
        # Of a run in which something has happened more can be decided only if that was left undone.
        return self._decide_blocked(range(len(self.states)) if any(self.states) else self.plan.roots, verdict)

    def ended(self, step: int, status: RunStatus | StepState, verdict: Verdict) -> list[Move]:
        """A step came to its end. For one that has ended already, or a failure handler never called, that is nothing.

        Steps that are not LIVE can be cancelled too.
        """
        if self.states[step] >= _COMPLETED or (step == self.plan.on_failure and self.states[step] == _BLOCKED):
            return []
        self._end(step, status)
        moves: list[Move] = []
        if step != self.plan.on_failure:
            self._spread([step], verdict, moves)
        return self._finish(moves)

    def met(self, step: int, places: Iterable[int], verdict: Verdict) -> list[Move]:
        """Sleeps of a waiting step became due, or events came for it. What came together is to be given together."""
        if self.states[step] != _WAITING:
            return []
        met = self._met[step]
        met.update(places)
        hopes = self._hopes.get(step)
        demands = self.plan.demands[step]
        if hopes is None and demands is not None:
            hopes = self._hopes[step] = _hear_parents(step, demands, verdict)
        moves: list[Move] = []
        ended: list[int] = []
        if hopes is None or not self._take(step, hopes, met, ended, moves):
            return []
        self._spread(ended, verdict, moves)
        return self._finish(moves)

    def cancel_all(self) -> list[Move]:
        """Cancel all that has not ended. To stop what is LIVE is up to the caller."""
        if self.finished:
            return []
        moves: list[Move] = []
        handler = self.plan.on_failure
        for step, state in enumerate(self.states):
            if state < _COMPLETED and (step != handler or state == _LIVE):
                self._end(step, _CANCELLED)
                moves.append(Closed(step, _CANCELLED, "the run was cancelled"))
                # Nothing spreads: all that waits is cancelled by this loop as well.
                for child in self.plan.children[step]:
                    self._running_parents[child] -= 1
        return self._finish(moves)

    def reset(self, steps: Iterable[int], verdict: Verdict) -> list[Move]:
        """Make these steps as if they had never been, and decide them anew.

        Args:
            steps: As told by ``replayable`` or ``replayable_from``: with all descendants. LIVE ones are to be withdrawn
                by the caller.
            verdict: Judges parent conditions.
        """
        chosen = sorted(set(steps))
        if not chosen:
            return []
        for step in chosen:
            state = self.states[step]
            if state >= _COMPLETED and step != self.plan.on_failure:
                self._count(step, state, -1)
            self.states[step] = _BLOCKED
            self._forget(step)
        self.finished = False
        return self._decide_blocked(chosen, verdict)

    def replayable(self) -> set[int]:
        """What a replay of this ended run resets: what did not go well with all that follows; if all went well, all."""
        states, handler = self.states, self.plan.on_failure
        regular = [step for step in range(len(states)) if step != handler]
        if self.status() is not RunStatus.COMPLETED:
            regular = [step for step in regular if states[step] not in (_COMPLETED, _SKIPPED)]
        return self._with_handler({*regular, *self.plan.descendants(regular)})

    def replayable_from(self, *steps: int) -> set[int]:
        """What a replay of these ended steps resets: them, all descendants, and the failure handler by its rule."""
        return self._with_handler({*steps, *self.plan.descendants(steps)})

    def status(self) -> RunStatus:
        """How the run ended; of one that has not: RUNNING once a step was queued or ended, QUEUED before."""
        if not self.finished:
            fresh = self.states.count(_BLOCKED) + self.states.count(_WAITING)
            return RunStatus.QUEUED if fresh == len(self.states) else RunStatus.RUNNING
        if self._ended_as[_FAILED]:
            return RunStatus.FAILED
        return RunStatus.CANCELLED if self._ended_as[_CANCELLED] else RunStatus.COMPLETED

    def _with_handler(self, steps: set[int]) -> set[int]:
        """A failure handler that was called starts over as well, unless a failure that called it stays."""
        handler = self.plan.on_failure
        if handler is not None and self.states[handler] != _BLOCKED:
            going = sum(self.states[step] == _FAILED for step in steps if step != handler)
            if going == self._ended_as[_FAILED]:
                steps.add(handler)
        return steps

    def _decide_blocked(self, steps: Iterable[int], verdict: Verdict) -> list[Move]:
        """Decide those of the steps, all BLOCKED, that the states of their parents allow to decide."""
        states, parents = self.states, self.plan.parents
        moves: list[Move] = []
        ended: list[int] = []
        for step in steps:
            if states[step] != _BLOCKED or step == self.plan.on_failure:
                continue
            bad = next((parent for parent in parents[step] if states[parent] in (_FAILED, _CANCELLED)), None)
            if bad is not None:
                self._close(step, _CANCELLED, self._blame(bad), ended, moves)
            elif not self._running_parents[step]:
                self._decide(step, verdict, ended, moves)
        if self._ended_as[_FAILED]:
            self._call_handler(moves)
        self._spread(ended, verdict, moves)
        return self._finish(moves)

    def _spread(self, ended: list[int], verdict: Verdict, moves: list[Move]) -> None:
        """Tell the children of steps that ended, and theirs, until nothing follows any more."""
        states, children = self.states, self.plan.children
        for step in ended:  # grows as children are closed
            state = states[step]
            if state == _FAILED:
                self._call_handler(moves)
            for child in children[step]:
                self._running_parents[child] -= 1
                if states[child] != _BLOCKED:
                    continue
                if state in (_FAILED, _CANCELLED):
                    self._close(child, _CANCELLED, self._blame(step), ended, moves)
                elif not self._running_parents[child]:
                    self._decide(child, verdict, ended, moves)

    def _decide(self, step: int, verdict: Verdict, ended: list[int], moves: list[Move]) -> None:
        """Decide a step whose parents have all ended well or were skipped."""
        demands = self.plan.demands[step]
        parents = self.plan.parents[step]
        if (
            # Looked at first, as it is seldom so.
            self._ended_as[_SKIPPED]
            and parents
            and (demands is None or not demands.judges_skips)
            and all(self.states[parent] == _SKIPPED for parent in parents)
        ):
            self._close(step, _SKIPPED, "all its parents were skipped", ended, moves)
        elif demands is None:
            self._start(step, moves)
        else:
            hopes = _hear_parents(step, demands, verdict)
            if self._take(step, hopes, set(), ended, moves):
                return
            if hopes == (None, None, None):
                self._close(step, _SKIPPED, "wait_for cannot come true", ended, moves)
                return
            self.states[step] = _WAITING
            self._met[step] = set()
            self._hopes[step] = hopes
            moves.append(Wait(step, hopes.places()))

    def _take(self, step: int, hopes: _Hopes, met: set[int], ended: list[int], moves: list[Move]) -> bool:
        """Take the first action that holds. False if none does."""
        if _holds(hopes.skip, met):
            self._close(step, _SKIPPED, "skip_if came true", ended, moves)
        elif _holds(hopes.cancel, met):
            self._close(step, _CANCELLED, "cancel_if came true", ended, moves)
        elif _holds(hopes.queue, met):
            self._start(step, moves)
        else:
            return False
        return True

    def _start(self, step: int, moves: list[Move]) -> None:
        self._forget(step)
        self.states[step] = _LIVE
        moves.append(Ready(step))

    def _call_handler(self, moves: list[Move]) -> None:
        handler = self.plan.on_failure
        if handler is not None and self.states[handler] == _BLOCKED:
            self._start(handler, moves)

    def _close(self, step: int, status: StepState, reason: str, ended: list[int], moves: list[Move]) -> None:
        self._end(step, status)
        ended.append(step)
        moves.append(Closed(step, status, reason))

    def _end(self, step: int, status: RunStatus | StepState) -> None:
        """Note the end of a step; its children are not told of it yet."""
        self._forget(step)
        self.states[step] = status
        if step != self.plan.on_failure:
            self._ended_as[status] += 1
            self._unended -= 1

    def _count(self, step: int, state: int, by: int) -> None:
        """Take an ended step, not the failure handler, into all counts (1) or out of them (-1)."""
        self._ended_as[state] += by
        self._unended -= by
        for child in self.plan.children[step]:
            self._running_parents[child] -= by

    def _forget(self, step: int) -> None:
        """Drop what is kept for a waiting step only."""
        self._met.pop(step, None)
        self._hopes.pop(step, None)

    def _finish(self, moves: list[Move]) -> list[Move]:
        if not self.finished and self._has_ended():
            self.finished = True
            moves.append(Finished(self.status()))
        return moves

    def _has_ended(self) -> bool:
        handler = self.plan.on_failure
        return not self._unended and (handler is None or self.states[handler] != _LIVE)

    def _blame(self, parent: int) -> str:
        how = "failed" if self.states[parent] == _FAILED else "was cancelled"
        return f"its parent {self.plan.names[parent]} {how}"


def _hear_parents(step: int, demands: Demands, verdict: Verdict) -> _Hopes:
    """What the outputs of the parents leave to sleeps and events."""
    skip = _open_groups(step, demands.skip, verdict) if demands.skip else None
    if skip == ():  # taken before anything else: the rest need not be judged
        return _Hopes(skip, None, None)
    cancel = _open_groups(step, demands.cancel, verdict) if demands.cancel else None
    if cancel == ():
        return _Hopes(skip, cancel, None)
    return _Hopes(skip, cancel, _open_groups(step, demands.queue, verdict))


def _open_groups(step: int, groups: tuple[Alternatives, ...], verdict: Verdict) -> _OpenGroups:
    left: list[tuple[int, ...]] = []
    for group in groups:
        if not any(verdict(step, condition) for condition in group.parents):
            if not group.places:
                return None
            left.append(group.places)
    return tuple(left)


def _holds(left: _OpenGroups, met: set[int]) -> bool:
    return left is not None and all(not met.isdisjoint(group) for group in left)
