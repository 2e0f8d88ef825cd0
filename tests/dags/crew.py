"""Workers: what they were given, what they say about it, and how they come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.dags.tales import STALE_OUTPUT, output_of_skipped, run_input, task_output
from tests.engine.fakes import Delivered, FakeWorker
from tests.engine.harness import TENANT, Answered
from treadle.engine.commands import Completed, Failed, Started, WorkerChanged, WorkerLost
from treadle.engine.workflow import NO_OUTPUT
from treadle.model.ids import new_id
from treadle.model.states import RunStatus

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence
    from random import Random

    from tests.dags.story import Story
    from tests.dags.watched import WatchedEngine
    from treadle.engine.catalog import TaskKind
    from treadle.engine.commands import AttemptKey


class Held(NamedTuple):
    """An attempt that a worker has."""

    worker: FakeWorker
    item: Delivered
    story: Story
    step: int

    @property
    def order(self) -> tuple[int, int, int]:
        """One that does not depend on ids, so that a seed repeats it."""
        return (self.story.number, self.step, self.item.attempt)


class Crew:
    """All workers of an engine.

    Args:
        rng: All chance.
        engine: The engine.
        stories: The runs by id.
        kinds: One of each queue.
        slots: Of each worker.
    """

    def __init__(
        self, rng: Random, engine: WatchedEngine, stories: Mapping[str, Story], kinds: Sequence[TaskKind], slots: int
    ) -> None:
        self._rng = rng
        self._engine = engine
        self._stories = stories
        self._kinds = kinds
        self._slots = slots
        self._workers: list[FakeWorker] = []
        self._given_up: list[FakeWorker] = []
        self._held: dict[AttemptKey, Held] = {}
        # Reports that are under way, with what they are about.
        self._asked: list[tuple[asyncio.Future[Answered], list[AttemptKey]]] = []
        self._reported: set[AttemptKey] = set()
        # What workers were told to stop, and what given up workers still believe to have.
        self._stopped: dict[AttemptKey, Held] = {}
        self._late: list[Held] = []
        self._last: dict[str, int] = {}
        self.errors: dict[tuple[int, int], str] = {}
        self.stale = 0

    # -- coming and going -----------------------------------------------------------------------------------------------

    def hire(self) -> None:
        """Connect another worker."""
        worker = FakeWorker(new_id(), TENANT, self._kinds, {"default": self._slots})
        self._workers.append(worker)
        self._engine.connect(worker, in_hand=set())

    def rejoin(self) -> None:
        """Another loop has taken over: all come back with what they have, or a little less. Nothing was answered."""
        self._asked.clear()
        self._reported.clear()
        for worker in self._given_up:
            # It may not have come to that before.
            self._engine.inbox.put_control(WorkerLost(TENANT, worker.worker_id))
        for worker in self._workers:
            self._reconnect(worker)

    def break_stream(self) -> None:
        """A worker comes back after its stream has closed."""
        worker = self._rng.choice(self._workers)
        self._engine.inbox.put_control(WorkerChanged(TENANT, worker.worker_id, worker, gone=True))
        self._reconnect(worker)

    def lose_one(self) -> None:
        """A worker is given up; another takes its place. It may not know yet."""
        worker = self._workers.pop(self._rng.randrange(len(self._workers)))
        self._given_up.append(worker)
        self._engine.inbox.put_control(WorkerLost(TENANT, worker.worker_id))
        for key, held in list(self._held.items()):
            if held.worker is worker:
                del self._held[key]
                self._late.append(held)
        self._late.sort(key=lambda held: held.order)
        self.hire()

    def _reconnect(self, worker: FakeWorker) -> None:
        mine = [held for held in self._in_order() if held.worker is worker]
        for held in mine:
            if self._rng.random() < 0.05:
                # It never arrived.
                del self._held[_key(held.item)]
        in_hand = {key for key, held in self._held.items() if held.worker is worker}
        in_hand |= {key for key, held in self._stopped.items() if held.worker is worker}
        self._engine.connect(worker, in_hand=in_hand)

    # -- what they are told -----------------------------------------------------------------------------------------------

    def collect(self) -> None:
        """Take in what workers were given and told, and what was answered."""
        for worker in self._workers:
            got, worker.got = worker.got, []
            for item in got:
                self._take(worker, item)
            stops, worker.stops = worker.stops, []
            for task_id, attempt, _ in stops:
                held = self._held.pop((task_id, attempt), None)
                if held is not None:
                    self._stopped[task_id, attempt] = held
        waiting = []
        for asked, keys in self._asked:
            if not asked.done():
                waiting.append((asked, keys))
                continue
            answer = asked.result()
            self.stale += len(answer.stale)
            self._reported.difference_update(keys)
            for key in answer.settled:
                self._held.pop(key, None)
        self._asked = waiting

    def _take(self, worker: FakeWorker, item: Delivered) -> None:
        story = self._stories[item.run_id or ""]
        step = story.plan.names.index(item.name)
        key = _key(item)
        before = self._held.get(key)
        assert before is None or before.worker is worker, f"{key} is given to two workers"
        assert item.attempt >= self._last.get(item.task_id, 1), f"{key} is given again, after later attempts"
        assert key not in self._stopped, f"{key} is given again after it was stopped"
        self._last[item.task_id] = item.attempt
        self._held[key] = Held(worker, item, story, step)
        where = f"run {story.number}, {item.name}, attempt {item.attempt}"
        assert story.may_run(step), f"{where} runs, and should not"
        assert item.input == run_input(story.number), f"{where} has the input of another"
        assert item.parents == self._outputs(story, step), f"{where} has the wrong outputs of parents"
        assert item.errors == self._errors(story, step), f"{where} has the wrong errors"
        story.hopes.pop(step, None)

    def _outputs(self, story: Story, step: int) -> dict[str, bytes]:
        found = {}
        for parent in story.plan.parents[step]:
            name = story.plan.names[parent]
            if story.ended[parent] is RunStatus.SKIPPED:
                found[name] = output_of_skipped()
            else:
                found[name] = task_output(story.fates[name].output, story.number, parent) or NO_OUTPUT
        return found

    def _errors(self, story: Story, step: int) -> dict[str, str] | None:
        if step != story.plan.on_failure:
            return None
        return {
            story.plan.names[each]: self.errors[story.number, each]
            for each, status in story.ended.items()
            if status is RunStatus.FAILED and each != step
        }

    def last(self, task_id: str) -> int:
        """The last attempt of a task that anyone was given; 0 if there was none."""
        return self._last.get(task_id, 0)

    # -- what they say ------------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether they have nothing, and nothing to say."""
        return not self._held and not self._stopped and not self._asked

    def report(self, share: float) -> list[tuple[Story, int]]:
        """Report about some of what they have, and about what is not theirs any more.

        Returns:
            the steps that this may end.
        """
        ending: list[tuple[Story, int]] = []
        by_worker: dict[str, tuple[FakeWorker, list[Held]]] = {}
        for held in self._in_order():
            if _key(held.item) not in self._reported and self._rng.random() < share:
                by_worker.setdefault(held.worker.worker_id, (held.worker, []))[1].append(held)
        for worker, chosen in by_worker.values():
            self._report(worker, chosen)
            ending += [(held.story, held.step) for held in chosen]
        for held in sorted(self._stopped.values(), key=lambda held: held.order):
            if self._rng.random() < 0.3:
                self._say_late(held)
            elif self._rng.random() < 0.5:
                del self._stopped[_key(held.item)]
                self._engine.ask_report(held.worker, stopped=[_key(held.item)])
        late, self._late = self._late, []
        for held in late:
            if self._rng.random() < 0.3:
                self._say_late(held)
            elif self._rng.random() < 0.5:
                self._late.append(held)
        return ending

    def _report(self, worker: FakeWorker, chosen: list[Held]) -> None:
        completed: list[Completed] = []
        failures: list[Failed] = []
        started: list[Started] = []
        handed_back: list[AttemptKey] = []
        lost: list[AttemptKey] = []
        now = self._engine.clock.now()
        for held in chosen:
            key = _key(held.item)
            chance = self._rng.random()
            if chance < 0.02:
                handed_back.append(key)
            elif chance < 0.03:
                lost.append(key)
            elif chance < 0.1:
                started.append(Started(*key, now))
                continue
            elif (failure := self._failure(held)) is not None:
                failures.append(failure)
            else:
                fate = held.story.fates[held.item.name]
                completed.append(Completed(*key, task_output(fate.output, held.story.number, held.step), now))
            self._reported.add(key)
        asked = self._engine.ask_report(
            worker, started=started, completed=completed, failed=failures, handed_back=handed_back, lost=lost
        )
        self._asked.append((asked, [_key(held.item) for held in chosen]))

    def _failure(self, held: Held) -> Failed | None:
        """The failure that a task reports, if it does not complete: for good, or with retries left."""
        item, story = held.item, held.story
        left = story.plan.tasks[held.step].retries - item.retries_used
        fails = story.fates[item.name].status is RunStatus.FAILED
        if not fails and (left <= 0 or self._rng.random() < 0.7):
            return None
        for_good = fails and (left <= 0 or self._rng.random() < 0.5)
        error = f"Boom: {item.name} of {story.number} in attempt {item.attempt}"
        if for_good:
            self.errors[story.number, held.step] = error
        return Failed(*_key(item), error, for_good, None, None)

    def _say_late(self, held: Held) -> None:
        """Something about an attempt that is over: nothing may come of it."""
        key = _key(held.item)
        if self._rng.random() < 0.7:
            asked = self._engine.ask_report(held.worker, completed=[Completed(*key, STALE_OUTPUT, None)])
        else:
            asked = self._engine.ask_report(held.worker, failed=[Failed(*key, "stale", True, None, None)])
        self._asked.append((asked, []))

    def _in_order(self) -> list[Held]:
        return sorted(self._held.values(), key=lambda held: held.order)


def _key(item: Delivered) -> AttemptKey:
    return (item.task_id, item.attempt)
