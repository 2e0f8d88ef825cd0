"""What the tables say of all runs at rest, against what the rules say."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.dags.tales import output_of_skipped, task_output
from treadle.engine.doctor import examine_runs
from treadle.model.dag import StepState
from treadle.model.ids import step_id
from treadle.model.states import RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    import asyncpg

    from tests.dags.story import Story
    from tests.dags.world import World

SHOWN = 10

PLACES = ("queue_item", "attempt", "timer")
WAITING, LIVE = StepState.WAITING, StepState.LIVE


@dataclass(slots=True)
class Tables:
    """Rows by task, and what is left of attempts."""

    steps: dict[str, int] = field(default_factory=dict)
    results: dict[str, asyncpg.Record] = field(default_factory=dict)
    conditions: dict[str, dict[int, bool]] = field(default_factory=lambda: defaultdict(dict))
    replayed: dict[str, int] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)


async def check(world: World, *, over: bool = False) -> None:
    """All is as it should be.

    Args:
        world: A world at rest.
        over: Whether nothing may wait for anything any more.
    """
    tables = await _read(world)
    problems = [
        f"run {story.number} ({story.run_id}): {problem}"
        for story in world.stories
        for problem in _problems(world, story, tables)
    ]
    problems += [f"{task_id} is left in a queue, a backoff or at a worker" for task_id in sorted(tables.left)]
    if over:
        problems += [f"{task_id} still waits for sleeps or events" for task_id in sorted(tables.conditions)]
        problems += [f"run {story.number} has not ended" for story in world.stories if story.status is None]
    known = {task_id for story in world.stories for task_id in _ids(story)}
    problems += [f"{task_id} is nobody's" for task_id in sorted(tables.steps.keys() - known)]
    problems += [str(finding) for finding in await examine_runs(world.engine.database)]
    assert not problems, "\n".join([f"{len(problems)} problems", *problems[:SHOWN]])


async def _read(world: World) -> Tables:
    fetch = world.engine.fetch
    tables = Tables()
    for row in await fetch("SELECT id::text, step FROM treadle.task"):
        tables.steps[row["id"]] = row["step"]
    for row in await fetch("SELECT id::text, attempt, status, error, output FROM treadle.task_result"):
        tables.results[row["id"]] = row
    for row in await fetch("SELECT task_id::text, place, met_at IS NOT NULL AS met FROM treadle.condition"):
        tables.conditions[row["task_id"]][row["place"]] = row["met"]
    for row in await fetch("SELECT task_id::text, attempt FROM treadle.replayed"):
        tables.replayed[row["task_id"]] = row["attempt"]
    for place in PLACES:
        tables.left.update(row["task_id"] for row in await fetch(f"SELECT task_id::text FROM treadle.{place}"))
    return tables


def _ids(story: Story) -> list[str]:
    return [story.run_id, *(step_id(story.run_id, step) for step in range(len(story.plan)))]


def _problems(world: World, story: Story, tables: Tables) -> Iterator[str]:
    """What is wrong with a run."""
    expected = story.expected()
    result = tables.results.get(story.run_id)
    status = None if result is None else RunStatus(result["status"])
    if status is not expected.status:
        yield f"is {_name(status)}, should be {_name(expected.status)}"
    if status is not story.status:
        yield f"is {_name(status)}, but was told to be {_name(story.status)}"
    if tables.steps.get(story.run_id) != -1:
        yield "has no row"
    for step, name in enumerate(story.plan.names):
        task_id = step_id(story.run_id, step)
        should_be = expected.states[name]
        found = _state(task_id, tables)
        if found is not should_be:
            yield f"{name} is {found.name}, should be {should_be.name}"
            continue
        for problem in _step_problems(world, story, step, found, tables):
            yield f"{name} ({found.name}) {problem}"
        waits = tables.conditions.get(task_id, {})
        wanted = expected.awaited[name] if found is WAITING else frozenset[int]()
        if waits.keys() != wanted:
            yield f"{name} waits for {sorted(waits)}, should wait for {sorted(wanted)}"
        met = {place for place, is_met in waits.items() if is_met}
        if met != story.places_met(step) & waits.keys():
            yield f"{name} has been given {sorted(met)} of {sorted(story.places_met(step))}"


def _step_problems(world: World, story: Story, step: int, state: StepState, tables: Tables) -> Iterator[str]:
    """What is wrong with the rows of a task that is in the right state."""
    task_id = step_id(story.run_id, step)
    if tables.steps.get(task_id, step) != step:
        yield f"is stored as step {tables.steps[task_id]}"
    next_attempt = tables.replayed.get(task_id)
    if state in (StepState.BLOCKED, WAITING):
        if (next_attempt is None) != (task_id not in tables.steps):
            yield "has a row only if it is to come to be again, but not here"
        elif next_attempt is not None and next_attempt <= world.crew.last(task_id):
            yield f"would come to be with attempt {next_attempt}, which there has been"
        return
    if task_id not in tables.steps:
        yield "has a result and no row"
    if next_attempt is not None:
        yield "has ended and is to come to be again"
    yield from _result_problems(world, story, step, state, tables.results[task_id])


def _result_problems(world: World, story: Story, step: int, state: StepState, result: asyncpg.Record) -> Iterator[str]:
    """What is wrong with the result of a task that has ended in the right state."""
    last = world.crew.last(result["id"])
    if result["attempt"] < last:
        yield f"ended in attempt {result['attempt']}, although there was attempt {last}"
    output, error = result["output"], result["error"]
    wanted: tuple[bytes | None, str | None] = (None, error)
    if state is StepState.COMPLETED:
        wanted = (task_output(story.fates[story.plan.names[step]].output, story.number, step), None)
    elif state is StepState.SKIPPED:
        wanted = (output_of_skipped(), None)
    elif state is StepState.FAILED:
        wanted = (None, world.crew.errors[story.number, step])
    if (output, error) != wanted:
        yield f"has {output!r:.50} and {error!r:.50}, should have {wanted!r:.100}"


def _state(task_id: str, tables: Tables) -> StepState:
    """Where a task is, by the rows that there are of it."""
    result = tables.results.get(task_id)
    if result is not None:
        return StepState(result["status"])
    if task_id in tables.left:
        return LIVE
    return WAITING if task_id in tables.conditions else StepState.BLOCKED


def _name(status: RunStatus | None) -> str:
    return "unended" if status is None else status.name
