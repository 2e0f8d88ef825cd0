"""What users and machines do to runs that could go on undisturbed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.engine.harness import TENANT
from treadle.engine.commands import Cancel, Push, Replay, Trigger
from treadle.engine.doctor import examine_runs
from treadle.engine.workflow import BOUND, Workflows
from treadle.model.ids import step_id
from treadle.scheduler.loop import ROWS_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.dags.story import Story
    from tests.dags.world import World

Target = tuple["Story", int | None]
"""A run, or a step of one."""


class Troubles:
    """Everything that gets in the way.

    Args:
        world: Where.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng
        # Requests whose answer decides what is expected from then on.
        self._asked: list[tuple[Cancel | Replay, list[Target]]] = []
        # How many more: there must be an end to it.
        self._cancels = self._replays = len(world.stories) // 3 + 1
        # Whether a commit that is to come is refused.
        self.refuse_next = False

    # -- what is asked for ------------------------------------------------------------------------------------------------

    async def before_commits(self) -> None:
        """Something that goes into the next commits."""
        rng, world = self._rng, self._world
        chance = rng.random()
        if chance < 0.2 and self._cancels > 0:
            self.ask_cancel(self._targets(0.15, ended=False))
        elif chance < 0.4 and self._replays > 0:
            self.ask_replay(self._targets(0.3, ended=True))
        elif chance < 0.45:
            world.crew.break_stream()
        elif chance < 0.5:
            world.crew.lose_one()
        elif chance < 0.6:
            self.refuse_next = True
        elif chance < 0.7 and not self._asked and not world.engine.inbox.empty:
            await self._crash()

    async def between_rounds(self) -> None:
        """Something while a commit may still be on its way."""
        chance = self._rng.random()
        if chance < 0.06:
            await self.examine()
            await self._world.land()
        elif chance < 0.12:
            await self._world.land()
            await self._restart()
            self._world.figures.restarts += 1

    async def examine(self) -> None:
        """Nothing is wrong at any time."""
        found = await examine_runs(self._world.engine.database)
        assert found == [], found
        self._world.figures.looks += 1

    def _targets(self, whole: float, *, ended: bool) -> list[Target]:
        """Some runs that were asked for, or steps of them: mostly those that a request can do something to."""
        rng = self._rng
        there = [story for story in self._world.stories if story.run_id]
        going = [story for story in there if story.status is None]
        chosen = going if going and not ended and rng.random() < 0.9 else there
        targets: list[Target] = []
        for story in rng.sample(chosen, min(len(chosen), rng.choice((1, 3, 9)))):
            steps = [step for step in range(len(story.plan)) if (step in story.ended if ended else story.may_run(step))]
            if rng.random() < whole:
                targets.append((story, None))
            for _ in range(rng.choice((0, 1, 1, 2))):
                likely = steps if steps and rng.random() < 0.8 else range(len(story.plan))
                targets.append((story, rng.choice(likely)))
        return list(dict.fromkeys(targets))

    def ask_cancel(self, targets: Sequence[Target]) -> None:
        """Cancel runs and steps, in one request."""
        if targets:
            self._ask(Cancel(TENANT, [_id(target) for target in targets], _future()), targets)

    def ask_replay(self, targets: Sequence[Target]) -> None:
        """Replay runs and steps, in one request."""
        if targets:
            self._ask(Replay(TENANT, [_id(target) for target in targets], _future()), targets)

    def _ask(self, command: Cancel | Replay, targets: Sequence[Target]) -> None:
        self._asked.append((command, list(targets)))
        self._world.engine.inbox.put(command)

    def settle(self) -> list[Story]:
        """In a commit that is being told of: what was done to runs, before anything else in it."""
        touched: list[Story] = []
        waiting = []
        for command, targets in self._asked:
            if not command.future.done():
                waiting.append((command, targets))
                continue
            answer = set(command.future.result())
            done = [target for target in targets if _id(target) in answer]
            assert len(done) == len(answer), "an answer names what was not asked for"
            if isinstance(command, Cancel):
                self._cancelled(targets, done)
            else:
                self._replayed(targets, done)
            touched += [story for story, _ in done]
        self._asked = waiting
        return touched

    def _cancelled(self, targets: Sequence[Target], done: Sequence[Target]) -> None:
        self._world.figures.cancelled += len(done)
        self._cancels -= len(done)
        for story, step in targets:
            if step is None:
                # With the last of its tasks cancelled the run has ended already.
                parts = any(each is story for each, _ in done)
                assert ((story, step) in done) == (story.status is None) or parts
            elif (story, step) not in done:
                assert not story.may_run(step), "a task that waits or runs was not cancelled"
            else:
                assert story.is_unended(step), "a task was cancelled that had ended"
        for story, step in done:
            if not story.begun:
                self._world.begin(story)
            story.cancel(None if step is None else [step])

    def _replayed(self, targets: Sequence[Target], done: Sequence[Target]) -> None:
        self._world.figures.replayed += len(done)
        self._replays -= len(done)
        for story, step in targets:
            ended = story.status is not None if step is None else step in story.ended
            assert ((story, step) in done) == ended, "what has ended is replayed, and nothing else"
        for story in dict.fromkeys(story for story, _ in done):
            steps = [step for each, step in done if each is story]
            story.replay(self._rng, [step for step in steps if step is not None], whole=None in steps)

    # -- what machines do ---------------------------------------------------------------------------------------------------

    async def _crash(self) -> None:
        """The engine dies once a commit is written, before it has told anyone. Those who asked ask again."""
        world = self._world
        await world.land()
        commands = world.engine.inbox.take(ROWS_AT_ONCE)
        world.engine.ledger.silent = True
        await world.land(await world.engine.loop._carry_out(commands))
        await self._restart()
        for command in commands:
            if isinstance(command, (Trigger, Push)):
                command.uncertain = True
                world.engine.inbox.put(command)
        world.figures.crashes += 1

    async def _restart(self) -> None:
        world = self._world
        await world.engine.restart()
        bound = self._rng.choice((0, 0, 50_000, BOUND))
        world.engine.loop.memory.workflows = Workflows(bound=bound)
        world.crew.rejoin()


def _future() -> asyncio.Future[list[str]]:
    return asyncio.get_running_loop().create_future()


def _id(target: Target) -> str:
    story, step = target
    return story.run_id if step is None else step_id(story.run_id, step)
