"""A worker of the official SDK with workflows of several tasks: one for each thing that conditions and failures can do.

`declare` gives the same workflows to the worker process and to the client in the test process.
"""

import asyncio
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from hatchet_sdk import Context, Hatchet, ParentCondition, SleepCondition, UserEventCondition, or_
from hatchet_sdk.runnables.workflow import BaseWorkflow, Standalone, Workflow
from pydantic import BaseModel

from tests.conformance.workers.bodies import seen_by
from tests.conformance.workers.effects import Effects

FOREVER = timedelta(hours=1)
SOON = timedelta(seconds=1)
LIMIT = 50


class Given(BaseModel):
    """A run that records what it does under `mark`."""

    mark: str
    number: int = 1
    failures: int = 0


class Result(BaseModel):
    value: int


class Flock(BaseModel):
    """A parent of `children` children, spawned in one call."""

    mark: str
    children: int
    with_keys: bool = False
    fail_once: bool = False


@dataclass(frozen=True, slots=True)
class Flows:
    diamond: Workflow[Given]
    branches: Workflow[Given]
    after_sleep: Workflow[Given]
    after_event: Workflow[Given]
    after_either: Workflow[Given]
    after_both: Workflow[Given]
    after_past_event: Workflow[Given]
    skipped_by_event: Workflow[Given]
    cancelled_by_parent: Workflow[Given]
    cancelled_by_event: Workflow[Given]
    cancelled_by_time: Workflow[Given]
    wide_skip: Workflow[Given]
    mended: Workflow[Given]
    celebrated: Workflow[Given]
    flock: Standalone[Flock, dict[str, Any]]
    spawns_a_flow: Standalone[Given, dict[str, Any]]
    flow_that_spawns: Workflow[Given]
    flow_of_patience: Workflow[Given]
    child: Standalone[Given, dict[str, Any]]

    def all(self) -> list[BaseWorkflow[Any]]:
        return [getattr(self, field.name) for field in fields(self)]


def effects() -> Effects:
    return Effects.of_this_process()


async def note(given: Given, ctx: Context) -> dict[str, Any]:
    """Record that a task ran, with what had met its conditions."""
    effects().record(given.mark, ctx.task_name, retry_count=ctx.retry_count, triggers=dict(ctx.trigger_data))
    return {"value": given.number, "seen": seen_by(ctx).model_dump()}


def declare_diamond(hatchet: Hatchet) -> Workflow[Given]:
    workflow = hatchet.workflow(name="Diamond", input_validator=Given)

    @workflow.task()
    async def start(given: Given, ctx: Context) -> Result:
        effects().record(given.mark, "start", retry_count=ctx.retry_count)
        return Result(value=given.number)

    @workflow.task(parents=[start])
    async def left(given: Given, ctx: Context) -> Result:
        effects().record(given.mark, "left", retry_count=ctx.retry_count)
        return Result(value=ctx.task_output(start).value + 1)

    @workflow.task(parents=[start])
    def right(given: Given, ctx: Context) -> Result:
        effects().record(given.mark, "right", retry_count=ctx.retry_count)
        return Result(value=ctx.task_output(start).value * 10)

    @workflow.task(parents=[left, right])
    async def join(given: Given, ctx: Context) -> dict[str, Any]:
        effects().record(given.mark, "join", retry_count=ctx.retry_count)
        return {
            "sum": ctx.task_output(left).value + ctx.task_output(right).value,
            "input": given.number,
            "seen": seen_by(ctx).model_dump(),
        }

    return workflow


def declare_branches(hatchet: Hatchet) -> Workflow[Given]:
    workflow = hatchet.workflow(name="branches", input_validator=Given)

    @workflow.task()
    async def start(given: Given, ctx: Context) -> Result:
        return Result(value=given.number)

    @workflow.task(parents=[start], skip_if=[ParentCondition(start, expression=f"output.value > {LIMIT}")])
    async def low(given: Given, ctx: Context) -> Result:
        return Result(value=1)

    @workflow.task(parents=[start], skip_if=[ParentCondition(start, expression=f"output.value <= {LIMIT}")])
    async def high(given: Given, ctx: Context) -> Result:
        return Result(value=2)

    @workflow.task(parents=[low, high])
    async def join(given: Given, ctx: Context) -> dict[str, Any]:
        try:
            ctx.task_output(high if ctx.was_skipped(high) else low)
            refused = ""
        except ValueError as problem:
            refused = str(problem)
        return {
            "skipped": [task.name for task in (low, high) if ctx.was_skipped(task)],
            "value": ctx.task_output(low if ctx.was_skipped(high) else high).value,
            "refused": refused,
        }

    return workflow


def waiting(hatchet: Hatchet, name: str, **conditions: Any) -> Workflow[Given]:
    """Two tasks, of which the second has conditions, and one after it."""
    workflow = hatchet.workflow(name=name, input_validator=Given)
    first = workflow.task(name="first")(note)
    asked = {key: value(first) if callable(value) else value for key, value in conditions.items()}
    second = workflow.task(name="second", parents=[first], **asked)(note)
    workflow.task(name="third", parents=[second])(note)
    return workflow


def declare_conditions(hatchet: Hatchet) -> dict[str, Any]:
    late = {"readable_data_key": "late"}
    return {
        "after_sleep": waiting(hatchet, "after-sleep", wait_for=[SleepCondition(SOON)]),
        "after_event": waiting(
            hatchet,
            "after-event",
            wait_for=[UserEventCondition(event_key="approve", expression="input.grade >= 3 && input.by != ''")],
        ),
        "after_either": waiting(
            hatchet,
            "after-either",
            wait_for=[or_(SleepCondition(FOREVER), UserEventCondition(event_key="hurry"))],
        ),
        "after_both": waiting(
            hatchet,
            "after-both",
            wait_for=lambda first: [
                SleepCondition(SOON, readable_data_key="pause"),
                UserEventCondition(event_key="both"),
                or_(ParentCondition(first, expression="output.value < 0"), UserEventCondition(event_key="either")),
            ],
        ),
        "after_past_event": waiting(
            hatchet,
            "after-past-event",
            wait_for=[UserEventCondition(event_key="past", scope="mine", consider_events_since=a_while_ago())],
        ),
        "skipped_by_event": waiting(
            hatchet,
            "skipped-by-event",
            wait_for=[SleepCondition(FOREVER)],
            skip_if=[UserEventCondition(event_key="skip")],
        ),
        "cancelled_by_parent": waiting(
            hatchet,
            "cancelled-by-parent",
            cancel_if=lambda first: [ParentCondition(first, expression=f"output.value > {LIMIT}")],
        ),
        "cancelled_by_event": waiting(
            hatchet,
            "cancelled-by-event",
            wait_for=[SleepCondition(FOREVER)],
            cancel_if=[UserEventCondition(event_key="abort")],
        ),
        "cancelled_by_time": waiting(
            hatchet,
            "cancelled-by-time",
            wait_for=[UserEventCondition(event_key="never")],
            cancel_if=[SleepCondition(SOON, **late)],
        ),
    }


def a_while_ago() -> datetime:
    return datetime.now(UTC) - timedelta(minutes=10)


def declare_wide_skip(hatchet: Hatchet) -> Workflow[Given]:
    """Of tasks whose parents are all skipped, one minds, and one looks for itself."""
    workflow = hatchet.workflow(name="wide-skip", input_validator=Given)
    start = workflow.task(name="start")(note)
    gone = workflow.task(name="gone", parents=[start], skip_if=[ParentCondition(start, expression="true")])(note)
    workflow.task(name="follows", parents=[gone])(note)
    workflow.task(
        name="goes-its-way",
        parents=[gone],
        skip_if=[ParentCondition(gone, expression="!has(output.skipped)")],
    )(note)
    workflow.task(name="has-another", parents=[gone, start])(note)
    return workflow


def declare_mended(hatchet: Hatchet) -> Workflow[Given]:
    workflow = hatchet.workflow(name="mended", input_validator=Given)

    @workflow.task()
    async def fine(given: Given, ctx: Context) -> Result:
        return Result(value=1)

    @workflow.task(retries=1)
    async def shaky(given: Given, ctx: Context) -> Result:
        effects().record(given.mark, "shaky", retry_count=ctx.retry_count)
        if ctx.retry_count < given.failures:
            raise ValueError("planned failure")
        return Result(value=2)

    @workflow.task(parents=[fine, shaky])
    async def last(given: Given, ctx: Context) -> Result:
        return Result(value=3)

    @workflow.on_failure_task()
    async def mend(given: Given, ctx: Context) -> dict[str, Any]:
        effects().record(given.mark, "mend", errors=dict(ctx.task_run_errors), of=str(ctx.get_task_run_error(shaky)))
        return {"failed": sorted(ctx.task_run_errors)}

    return workflow


def declare_celebrated(hatchet: Hatchet) -> Workflow[Given]:
    workflow = hatchet.workflow(name="celebrated", input_validator=Given)

    @workflow.task()
    async def one(given: Given, ctx: Context) -> Result:
        if given.failures:
            raise ValueError("planned failure")
        return Result(value=1)

    workflow.task(name="other")(note)
    workflow.on_success_task(name="party")(note)
    return workflow


def declare_children(hatchet: Hatchet, diamond: Workflow[Given]) -> dict[str, Any]:
    child = hatchet.task(name="little-one", input_validator=Given)(note)

    @hatchet.task(name="flock", input_validator=Flock, retries=1, execution_timeout=timedelta(minutes=2))
    async def flock(given: Flock, ctx: Context) -> dict[str, Any]:
        runs = await child.aio_run_many(
            [
                child.create_bulk_run_item(
                    Given(mark=given.mark, number=number),
                    child_key=f"child-{number}" if given.with_keys else None,
                )
                for number in range(given.children)
            ],
            wait_for_result=False,
        )
        ids = [run.workflow_run_id for run in runs]
        results = await asyncio.gather(*(run.aio_result() for run in runs))
        effects().record(given.mark, "family", retry_count=ctx.retry_count, runs=ids)
        if given.fail_once and ctx.retry_count == 0:
            raise ValueError("the parent fails after its children are done")
        return {"values": [result["value"] for result in results], "runs": ids}

    @hatchet.task(name="spawns-a-flow", input_validator=Given, retries=1)
    async def spawns_a_flow(given: Given, ctx: Context) -> dict[str, Any]:
        ref = await diamond.aio_run(given, wait_for_result=False, child_key="the-one")
        result = await ref.aio_result()
        effects().record(given.mark, "family", retry_count=ctx.retry_count, runs=[ref.workflow_run_id])
        if ctx.retry_count < given.failures:
            raise ValueError("the parent fails after its child is done")
        return {"sum": result["join"]["sum"], "run": ref.workflow_run_id}

    flow_that_spawns = hatchet.workflow(name="flow-that-spawns", input_validator=Given)

    @flow_that_spawns.task()
    async def parent(given: Given, ctx: Context) -> dict[str, Any]:
        found = await child.aio_run(given)
        return {"seen": found["seen"], "task_run_id": ctx.task_run_id, "workflow_run_id": ctx.workflow_run_id}

    @flow_that_spawns.task(parents=[parent])
    def in_thread(given: Given, ctx: Context) -> dict[str, Any]:
        return {"value": child.run(given)["value"]}

    flow_of_patience = hatchet.workflow(name="flow-of-patience", input_validator=Given)

    @flow_of_patience.task()
    async def patient(given: Given, ctx: Context) -> dict[str, Any]:
        effects().record(given.mark, "started", retry_count=ctx.retry_count)
        await effects().wait(given.mark)
        return {"patience": "rewarded"}

    flow_of_patience.task(name="after", parents=[patient])(note)
    flow_of_patience.on_failure_task(name="mend")(note)
    return {
        "child": child,
        "flock": flock,
        "spawns_a_flow": spawns_a_flow,
        "flow_that_spawns": flow_that_spawns,
        "flow_of_patience": flow_of_patience,
    }


def declare(hatchet: Hatchet) -> Flows:
    diamond = declare_diamond(hatchet)
    return Flows(
        diamond=diamond,
        branches=declare_branches(hatchet),
        wide_skip=declare_wide_skip(hatchet),
        mended=declare_mended(hatchet),
        celebrated=declare_celebrated(hatchet),
        **declare_conditions(hatchet),
        **declare_children(hatchet, diamond),
    )


def main() -> None:
    hatchet = Hatchet()
    hatchet.worker("flows", slots=200, workflows=declare(hatchet).all()).start()


if __name__ == "__main__":
    main()
