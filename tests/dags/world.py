"""Many workflow runs side by side on one engine: what could happen to them happens, in random order, until all rest.

Everything goes through the loop's own path, one commit prepared while the one before is being written. The clock stands
still until the world moves it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from tests.dags.crew import Crew
from tests.dags.story import Story
from tests.dags.tales import ACTIONS, Tale, Told, right_event, run_input, wrong_event
from tests.dags.troubles import Troubles
from tests.dags.watched import WatchedEngine, Watcher
from tests.engine.harness import TENANT
from treadle.bus.direct import DirectIntake
from treadle.engine.commands import Trigger
from treadle.engine.put_workflow import put_workflow
from treadle.model.definition import EventCondition, TaskDefinition, WorkflowDefinition
from treadle.scheduler.loop import ROWS_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from random import Random

    from treadle.engine.batch import Batch
    from treadle.engine.catalog import TaskKind
    from treadle.engine.commands import Command
    from treadle.engine.ports import Ended

MOST_ROUNDS = 5000
"""A world that goes on for longer will not come to rest."""

MOST_IDLE = 300

_FAR_OFF = 3600.0


@dataclass(slots=True)
class Figures:
    """What has happened in worlds."""

    dags: int = 0
    commits: int = 0
    ends: int = 0
    events: int = 0
    # Events in the very commit in which their task began to wait.
    races: int = 0
    # Commits that were written while the next one was prepared.
    overlapped: int = 0
    restarts: int = 0
    crashes: int = 0
    failed_commits: int = 0
    cancelled: int = 0
    replayed: int = 0
    stale: int = 0
    looks: int = 0
    waiting_for_ever: int = 0

    def add(self, other: Figures) -> None:
        """Count others in."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(slots=True)
class Mood:
    """How often things happen in a world."""

    rng: Random
    share: float = field(init=False)
    slots: int = field(init=False)
    push: float = field(init=False)
    trouble: float = field(init=False)

    def __post_init__(self) -> None:
        rng = self.rng
        # Of what could be reported, pushed or started, how much is in a round.
        self.share = rng.choice((1.0, 0.8, 0.5))
        self.push = rng.choice((0.9, 0.5))
        self.slots = rng.choice((60, 300, 5000))
        self.trouble = rng.choice((0.0, 0.5, 0.5, 1.0, 1.0, 1.0))


class World(Watcher):
    """An engine, its workers, and the runs.

    Args:
        rng: All chance.
        engine: The engine; of this world only.
        dags: How many runs.
        max_tasks: Of each, at most, without the failure handler.
    """

    def __init__(self, rng: Random, engine: WatchedEngine, dags: int, max_tasks: int) -> None:
        self.rng = rng
        self.engine = engine
        self.figures = Figures(dags=dags)
        self.mood = Mood(rng)
        self.tales: list[Tale] = []
        self.stories: list[Story] = []
        for number in range(dags):
            if not self.tales or rng.random() < 0.8:
                self.tales.append(Tale(rng, f"w{len(self.tales)}", max_tasks))
            self.stories.append(Story(rng, number, rng.choice(self.tales[-3:])))
        self.by_id: dict[str, Story] = {}
        self.kinds: dict[str, TaskKind] = {}
        self._by_workflow: dict[str, list[Story]] = {}
        for story in self.stories:
            self._by_workflow.setdefault(story.tale.name, []).append(story)
        # Not asked for yet, and not there yet.
        self._unasked = list(self.stories)
        self._unbegun = dags
        self._pushed: dict[str, list[Told]] = {}
        self._now = 0.0
        self.troubles = Troubles(self)
        self.crew: Crew
        engine.watcher = self

    async def populate(self) -> None:
        """Register the workflows and connect the workers."""
        engine = self.engine
        queues = WorkflowDefinition("queues", tuple(TaskDefinition(f"q{n}", name) for n, name in enumerate(ACTIONS)))
        for workflow in (queues, *(tale.workflow for tale in self.tales)):
            await put_workflow(
                workflow,
                tenant_id=TENANT,
                database=engine.database,
                catalog=engine.catalog,
                now=engine.clock.now(),
            )
            self.kinds[workflow.name] = await engine.catalog.current(TENANT, workflow.name)
        version = self.kinds["queues"].version
        kinds = [engine.catalog.kind(version, step) for step in range(len(ACTIONS))]
        self.crew = Crew(self.rng, engine, self.by_id, kinds, self.mood.slots)
        for _ in range(3):
            self.crew.hire()

    async def play(self) -> None:
        """Go on until nothing more can happen by itself."""
        ends, idle = self.figures.ends, 0
        for _ in range(MOST_ROUNDS):
            await self._round()
            idle = 0 if self.figures.ends > ends else idle + 1
            ends = self.figures.ends
            assert idle < MOST_IDLE, f"nothing has ended for {MOST_IDLE} rounds, and there is something to be done"
            if self._at_rest():
                await self.engine.settle()
                self.look_around()
                if self._at_rest():
                    return
        raise AssertionError(f"there is no end after {MOST_ROUNDS} rounds")

    # -- a round ------------------------------------------------------------------------------------------------------

    async def _round(self) -> None:
        """Some of all that could happen now."""
        await self._start_some()
        # Before what workers say, or after it.
        early, late = self.rng.choice(((self.mood.trouble, 0.0), (0.0, self.mood.trouble)))
        if self.rng.random() < early:
            await self.troubles.before_commits()
        ending = self.crew.report(self.mood.share)
        self._push_some()
        self._push_early(ending)
        if self.rng.random() < late:
            await self.troubles.before_commits()
        idle = self.engine.inbox.empty
        await self.commit()
        if self.rng.random() < self.mood.trouble:
            await self.troubles.between_rounds()
        if idle or self.rng.random() < 0.3:
            await self._pass_time()

    async def _start_some(self) -> None:
        rng = self.rng
        chosen = [story for story in self._unasked if rng.random() < 0.2] or self._unasked[:1]
        if not chosen:
            return
        self._unasked = [story for story in self._unasked if story not in chosen]
        direct = rng.random() < 0.2
        names = {story.tale.name for story in chosen}
        if direct or any(self.engine.catalog.cached(TENANT, name) is None for name in names):
            # Whatever is waited for here, no commit is to end meanwhile: a seed must lead to the same history again.
            await self.land()
        attempts = []
        for story in chosen:
            kind = await self.engine.catalog.current(TENANT, story.tale.name)
            attempt = self.engine.task(kind, payload=run_input(story.number))
            story.run_id = attempt.task_id
            self.by_id[story.run_id] = story
            attempts.append(attempt)
        if not direct:
            self.engine.ask_trigger(attempts)
            return
        # Another engine has taken them in.
        stored = await DirectIntake(self.engine.database, self.engine.clock)._commit(
            [Trigger(attempts, lambda _: None)]
        )
        for story in chosen:
            story.created_at = stored.now
        self.engine.loop.arrived(TENANT)

    def _push_some(self) -> None:
        rng = self.rng
        for story in self.stories:
            if not story.hopes:
                continue
            owed = sorted(story.owed(), key=lambda entry: (entry[0], entry[1].data_key))
            for _, event in owed:
                if rng.random() < self.mood.push / len(owed):
                    wrong = wrong_event(rng, event, story.number) if rng.random() < 0.2 else None
                    self._push(wrong or right_event(rng, event, story.number))

    def _push_early(self, ending: Iterable[tuple[Story, int]]) -> None:
        """Events that nobody waits for yet, but perhaps will in this very commit. Those that look back may notice later."""
        rng = self.rng
        for story, step in ending:
            for child in story.plan.children[step]:
                events = [event for event in story.plan.timed(child) if isinstance(event, EventCondition)]
                if events and rng.random() < 0.3:
                    self._push(right_event(rng, rng.choice(events), story.number))

    def _push(self, told: Told) -> None:
        self.engine.ask_push(told.key, told.payload, scope=told.scope)

    async def commit(self) -> None:
        """Let the loop carry out all that was asked for, in one commit or several."""
        loop, inbox, rng = self.engine.loop, self.engine.inbox, self.rng
        while not inbox.empty or loop._needed():
            commands = inbox.take(rng.choice((ROWS_AT_ONCE, ROWS_AT_ONCE, 200, 40)))
            if self.troubles.refuse_next and len(commands) > 1:
                # A single one would fail for good.
                self.troubles.refuse_next = False
                self.engine.ledger.fail_next = True
            again = await self._carry_out(commands)
            self.figures.overlapped += loop._flight is not None
            if again or rng.random() < 0.3:
                await self.land(again)

    async def land(self, again: Sequence[list[Command]] = ()) -> None:
        """Return once nothing is being written, and nothing is left of what must be tried again."""
        left = [*again, *await self.engine.loop._settle()]
        self.look_around()
        while left:
            left = await self._carry_out(left.pop(0)) + await self.engine.loop._settle() + left
            self.look_around()

    async def _carry_out(self, commands: list[Command]) -> list[list[Command]]:
        again = await self.engine.loop._carry_out(commands)
        self.look_around()
        return again

    async def _pass_time(self) -> None:
        """Move the clock: to the next thing that is due, or beyond several."""
        await self.engine.settle()
        self.look_around()
        now = self.engine.clock.now()
        memory = self.engine.loop.memory
        dues = [due for story in self.stories if (due := story.next_due()) is not None]
        dues += [due for due in (memory.timers.next(None),) if due is not None and due < now + _FAR_OFF]
        if dues:
            beyond = self.rng.choice((0.0, 0.0, 0.0, 0.5, 2.5))
            self.engine.clock.advance(max(min(dues) - now, 0.0) + beyond)
        elif self.rng.random() < 0.5:
            self.engine.clock.advance(0.25)
        if self.rng.random() < 0.5:
            await self.engine.settle()
            self.look_around()

    def look_around(self) -> None:
        """See what workers were given; raise what went wrong."""
        self.engine.raise_problems()
        self.crew.collect()

    def _at_rest(self) -> bool:
        if self._unasked or self._unbegun or not self.crew.idle or not self.engine.inbox.empty:
            return False
        due = self.engine.loop.memory.timers.next(None)
        if due is not None and due < self.engine.clock.now() + _FAR_OFF:
            return False
        return not any(story.next_due() is not None or any(story.owed()) for story in self.stories)

    # -- what commits tell ----------------------------------------------------------------------------------------------

    def before_commit(self) -> None:
        """What workers were given before is judged by what was then."""
        self.crew.collect()

    def after_commit(self, batch: Batch) -> None:
        """Take a commit in."""
        self.figures.commits += 1
        created = {attempt.task_id for attempt in batch.created}
        touched: dict[Story, list[Ended]] = {}
        for story in self.troubles.settle():
            touched[story] = []
        for root in batch.begun:
            story = self.by_id[root.task_id]
            if root.task_id in created:
                story.created_at = batch.now
            self.begin(story)
            touched[story] = []
        for ended in batch.results:
            touched.setdefault(self.by_id[ended.run_id or ended.task_id], []).append(ended)
        pushed = [_told(event.key, event.scope, event.payload, batch.now) for event in batch.pushed]
        if batch.now > self._now:
            self._now = batch.now
            self._touch(touched, self.stories)
        for told in pushed:
            self._touch(touched, self._by_workflow[told.key.partition(":")[0]])
        for story, results in touched.items():
            if story.begun:
                mine = [told for told in pushed if told.key.startswith(f"{story.tale.name}:")]
                self.figures.races += story.take(batch.now, results, mine, self._pushed)
        for told in pushed:
            self._pushed.setdefault(told.key, []).append(told)
        self.figures.ends += len(batch.results)
        self.figures.events += len(pushed)
        self.crew.collect()

    def begin(self, story: Story) -> None:
        """A run is there."""
        story.begin()
        self._unbegun -= 1

    @staticmethod
    def _touch(touched: dict[Story, list[Ended]], stories: Iterable[Story]) -> None:
        for story in stories:
            if story.hopes:
                touched.setdefault(story, [])


def _told(key: str, scope: str | None, payload: bytes, at: float) -> Told:
    told = Told(key, scope, ok=False, at=at)
    return told if payload == told.payload else told._replace(ok=True)
