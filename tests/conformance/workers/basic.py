"""A worker of the official SDK with one task for each thing the tests look at.

`declare` gives the same typed tasks to the worker process and to the client in the test process.
"""

import os
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from hatchet_sdk import Context, EmptyModel, Hatchet, Priority
from hatchet_sdk.runnables.workflow import BaseWorkflow, Standalone

from tests.conformance.workers import bodies
from tests.conformance.workers.effects import Effects
from tests.conformance.workers.models import (
    Attempt,
    Child,
    Doubled,
    Family,
    FamilyReport,
    Flaky,
    Marked,
    Number,
    Numbered,
    Seen,
    Square,
    Text,
)

SLOTS_VARIABLE = "CONFORMANCE_SLOTS"


@dataclass(frozen=True, slots=True)
class BasicTasks:
    double: Standalone[Number, Doubled]
    double_in_thread: Standalone[Number, Doubled]
    flaky: Standalone[Flaky, Attempt]
    flaky_with_backoff: Standalone[Flaky, Attempt]
    hopeless: Standalone[Marked, None]
    asks_for_delay: Standalone[Marked, Attempt]
    outlasts_its_timeout: Standalone[Marked, None]
    refreshes_its_timeout: Standalone[Marked, Attempt]
    patient: Standalone[Marked, Attempt]
    patient_in_thread: Standalone[Marked, Attempt]
    impatient_in_queue: Standalone[Marked, Attempt]
    leaves_its_slot: Standalone[Marked, Attempt]
    cancels_itself: Standalone[Marked, None]
    numbered: Standalone[Numbered, None]
    numbered_high: Standalone[Numbered, None]
    look_around: Standalone[EmptyModel, Seen]
    square: Standalone[Child, Square]
    parent: Standalone[Family, FamilyReport]
    streams: Standalone[Marked, None]
    talks: Standalone[Text, None]
    echo: Standalone[Text, Text]
    says_nothing: Standalone[EmptyModel, None]
    says_nul: Standalone[EmptyModel, dict[str, Any]]
    labels_itself: Standalone[EmptyModel, dict[str, Any]]

    def all(self) -> list[BaseWorkflow[Any]]:
        return [getattr(self, field.name) for field in fields(self)]


def declare(hatchet: Hatchet) -> BasicTasks:
    square = hatchet.task(name="square", input_validator=Child, retries=1)(bodies.square)

    async def parent(given: Family, ctx: Context) -> FamilyReport:
        numbers = list(range(given.children))
        if given.backwards_on_retry and ctx.retry_count:
            numbers.reverse()
        runs = [
            await square.aio_run(
                Child(mark=given.mark, number=number),
                wait_for_result=False,
                child_key=f"child-{number}" if given.with_keys else None,
            )
            for number in numbers
        ]
        squares = [await run.aio_result() for run in runs]
        found = {number: run.workflow_run_id for number, run in zip(numbers, runs, strict=True)}
        Effects.of_this_process().record(
            given.mark, "family", retry_count=ctx.retry_count, runs=[found[n] for n in sorted(found)]
        )
        if given.fail_once and ctx.retry_count == 0:
            raise ValueError("the parent fails after its children are done")
        return FamilyReport(
            run_id=ctx.workflow_run_id,
            child_runs=[run.workflow_run_id for run in runs],
            squares=[square.value for square in squares],
        )

    return BasicTasks(
        double=hatchet.task(name="double", input_validator=Number)(bodies.double),
        double_in_thread=hatchet.task(name="double-in-thread", input_validator=Number)(bodies.double_in_thread),
        flaky=hatchet.task(name="flaky", input_validator=Flaky, retries=3)(bodies.flaky),
        flaky_with_backoff=hatchet.task(
            name="flaky-with-backoff",
            input_validator=Flaky,
            retries=2,
            backoff_factor=2.0,
            backoff_max_seconds=3,
        )(bodies.flaky),
        hopeless=hatchet.task(name="hopeless", input_validator=Marked, retries=3)(bodies.hopeless),
        asks_for_delay=hatchet.task(
            name="asks-for-delay",
            input_validator=Marked,
            retries=1,
            backoff_factor=30.0,
        )(bodies.asks_for_delay),
        outlasts_its_timeout=hatchet.task(
            name="outlasts-its-timeout",
            input_validator=Marked,
            retries=1,
            execution_timeout=timedelta(seconds=1),
        )(bodies.outlasts_its_timeout),
        refreshes_its_timeout=hatchet.task(
            name="refreshes-its-timeout",
            input_validator=Marked,
            execution_timeout=timedelta(seconds=2),
        )(bodies.refreshes_its_timeout),
        patient=hatchet.task(name="patient", input_validator=Marked, retries=2)(bodies.patient),
        patient_in_thread=hatchet.task(name="patient-in-thread", input_validator=Marked)(bodies.patient_in_thread),
        impatient_in_queue=hatchet.task(
            name="impatient-in-queue",
            input_validator=Marked,
            retries=2,
            schedule_timeout=timedelta(seconds=1),
        )(bodies.patient),
        leaves_its_slot=hatchet.task(name="leaves-its-slot", input_validator=Marked)(bodies.leaves_its_slot),
        cancels_itself=hatchet.task(name="cancels-itself", input_validator=Marked)(bodies.cancels_itself),
        numbered=hatchet.task(name="numbered", input_validator=Numbered)(bodies.numbered),
        numbered_high=hatchet.task(
            name="numbered-high",
            input_validator=Numbered,
            default_priority=Priority.HIGH,
        )(bodies.numbered),
        look_around=hatchet.task(
            name="look-around",
            default_additional_metadata={"from": "definition", "kept": "yes"},
        )(bodies.look_around),
        square=square,
        parent=hatchet.task(name="parent", input_validator=Family, retries=1)(parent),
        streams=hatchet.task(name="streams", input_validator=Marked)(bodies.streams),
        talks=hatchet.task(name="talks", input_validator=Text)(bodies.talks),
        echo=hatchet.task(name="echo", input_validator=Text)(bodies.echo),
        says_nothing=hatchet.task(name="says-nothing")(bodies.says_nothing),
        says_nul=hatchet.task(name="says-nul")(bodies.says_nul),
        labels_itself=hatchet.task(name="labels-itself")(bodies.labels_itself),
    )


def main() -> None:
    hatchet = Hatchet()
    worker = hatchet.worker("basic", slots=int(os.environ.get(SLOTS_VARIABLE, "100")), workflows=declare(hatchet).all())
    worker.start()


if __name__ == "__main__":
    main()
