"""Rules with a planted bug each, to see the histories catch them. Nothing but a test can reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.model.dag import Move, Progress, StepState, Verdict, Wait, _Hopes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from treadle.model.states import RunStatus


class CancelBeforeSkip(Progress):
    """The precedence of the newer operator of others: cancel_if is looked at first."""

    def _take(self, step: int, hopes: _Hopes, met: set[int], ended: list[int], moves: list[Move]) -> bool:
        only_cancel = _Hopes(None, hopes.cancel, None)
        return super()._take(step, only_cancel, met, ended, moves) or super()._take(step, hopes, met, ended, moves)


class QueueFirst(Progress):
    """A step that could run runs, even if it is to be skipped."""

    def _take(self, step: int, hopes: _Hopes, met: set[int], ended: list[int], moves: list[Move]) -> bool:
        only_queue = _Hopes(None, None, hopes.queue)
        return super()._take(step, only_queue, met, ended, moves) or super()._take(step, hopes, met, ended, moves)


class DeafToJudges(Progress):
    """Skipped parents skip a step although its own skip_if has something to say about them."""

    def _decide(self, step: int, verdict: Verdict, ended: list[int], moves: list[Move]) -> None:
        parents = self.plan.parents[step]
        if parents and all(self.states[parent] == StepState.SKIPPED for parent in parents):
            self._close(step, StepState.SKIPPED, "all its parents were skipped", ended, moves)
        else:
            super()._decide(step, verdict, ended, moves)


class RunsAfterCancelled(Progress):
    """A cancelled parent does not stop its children."""

    def _spread(self, ended: list[int], verdict: Verdict, moves: list[Move]) -> None:
        lenient = [step for step in ended if self.states[step] == StepState.CANCELLED]
        for step in lenient:
            self.states[step] = StepState.COMPLETED
        super()._spread(ended, verdict, moves)
        for step in lenient:
            self.states[step] = StepState.CANCELLED


class ForgetsFacts(Progress):
    """Only what came true last counts."""

    def met(self, step: int, places: Iterable[int], verdict: Verdict) -> list[Move]:
        if step in self._met:
            self._met[step].clear()
        return super().met(step, places, verdict)


class RegistersTooLittle(Progress):
    """The last of the sleeps and events is not registered."""

    def _decide(self, step: int, verdict: Verdict, ended: list[int], moves: list[Move]) -> None:
        super()._decide(step, verdict, ended, moves)
        if isinstance(last := moves[-1], Wait) and len(last.places) > 1:
            moves[-1] = last._replace(places=last.places[:-1])


class LeavesHandler(Progress):
    """A failure handler that has run once never runs again."""

    def _with_handler(self, steps: set[int]) -> set[int]:
        return steps


class HandlerOnCancel(Progress):
    """The failure handler is called for a cancelled step as well."""

    def _end(self, step: int, status: RunStatus | StepState) -> None:
        super()._end(step, status)
        handler = self.plan.on_failure
        if status == StepState.CANCELLED and handler is not None and self.states[handler] == StepState.BLOCKED:
            self.states[handler] = StepState.LIVE


class MiscountsAfterReplay(Progress):
    """The children of what starts over are not told that it is to end once more."""

    def _count(self, step: int, state: int, by: int) -> None:
        super()._count(step, state, by)
        if by < 0:
            for child in self.plan.children[step]:
                self._running_parents[child] -= 1


class EndsWithoutHandler(Progress):
    """The run does not wait for the failure handler."""

    def _has_ended(self) -> bool:
        return not self._unended


MUTANTS: tuple[type[Progress], ...] = (
    CancelBeforeSkip,
    QueueFirst,
    DeafToJudges,
    RunsAfterCancelled,
    ForgetsFacts,
    RegistersTooLittle,
    LeavesHandler,
    HandlerOnCancel,
    MiscountsAfterReplay,
    EndsWithoutHandler,
)
