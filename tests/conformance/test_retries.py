"""Retries: how many, how far apart, and when there are none."""

from itertools import pairwise

import pytest
from hatchet_sdk import EmptyModel, Hatchet
from hatchet_sdk.clients.admin import RunStatus
from hatchet_sdk.exceptions import FailedTaskRunExceptionGroup

from tests.conformance.harness import Lab
from tests.conformance.workers.basic import BasicTasks
from tests.conformance.workers.models import Flaky, Marked
from tests.wire_edge.raw import RawClient


def attempts_made(lab: Lab, mark: str) -> list[int]:
    return [effect.facts["retry_count"] for effect in lab.effects.read(mark, "attempt")]


def pauses_between_attempts(lab: Lab, mark: str) -> list[float]:
    times = [effect.at for effect in lab.effects.read(mark, "attempt")]
    return [later - earlier for earlier, later in pairwise(times)]


async def test_a_task_is_tried_again_until_it_succeeds(tasks: BasicTasks, lab: Lab, mark: str) -> None:
    last = await tasks.flaky.aio_run(Flaky(mark=mark, failures=2))

    assert attempts_made(lab, mark) == [0, 1, 2]
    assert (last.retry_count, last.attempt_number, last.max_attempts) == (2, 3, 4)


async def test_a_task_without_luck_is_tried_as_often_as_declared(
    tasks: BasicTasks, hatchet: Hatchet, lab: Lab, mark: str
) -> None:
    run = await tasks.flaky.aio_run(Flaky(mark=mark, failures=99), wait_for_result=False)

    with pytest.raises(FailedTaskRunExceptionGroup) as failed:
        await run.aio_result()

    assert attempts_made(lab, mark) == [0, 1, 2, 3]
    (error,) = failed.value.exceptions
    assert error.exc == "planned failure 3"
    details = await hatchet.runs.aio_get_details(run.workflow_run_id)
    assert details.status is RunStatus.FAILED
    assert details.task_runs["flaky"].status == "FAILED"


async def test_the_error_comes_back_as_the_worker_sent_it(tasks: BasicTasks, mark: str) -> None:
    message = 'with a colon: "quotes", a backslash \\ and ☃'
    run = await tasks.flaky.aio_run(Flaky(mark=mark, failures=99, message=message), wait_for_result=False)

    with pytest.raises(FailedTaskRunExceptionGroup) as failed:
        await run.aio_result()

    (error,) = failed.value.exceptions
    assert (error.exc_type, error.exc) == ("ValueError", f"{message} 3")
    assert error.trace.startswith("Traceback (most recent call last)")
    # The SDK puts the id into a last line of JSON: it survives only when nothing touches the text.
    assert error.task_run_external_id == run.workflow_run_id


def test_a_sync_caller_gets_the_same_error(tasks: BasicTasks, mark: str) -> None:
    with pytest.raises(FailedTaskRunExceptionGroup) as failed:
        tasks.flaky.run(Flaky(mark=mark, failures=99))

    (error,) = failed.value.exceptions
    assert (error.exc_type, error.exc) == ("ValueError", "planned failure 3")


async def test_without_a_factor_the_next_attempt_is_immediate(tasks: BasicTasks, lab: Lab, mark: str) -> None:
    await tasks.flaky.aio_run(Flaky(mark=mark, failures=3))

    # Nothing is due, so three pauses together stay far below the shortest backoff there is, thrice.
    assert sum(pauses_between_attempts(lab, mark)) < 3


async def test_backoff_grows_by_its_factor_up_to_its_maximum(
    tasks: BasicTasks, lab: Lab, raw: RawClient, mark: str
) -> None:
    run = await tasks.flaky_with_backoff.aio_run(Flaky(mark=mark, failures=2), wait_for_result=False)
    await run.aio_result()

    # Factor 2, at most 3 s: 2 ** 1 = 2 s before the first retry, min(2 ** 2, 3) = 3 s before the second.
    first, second = pauses_between_attempts(lab, mark)
    assert first >= 2
    assert second >= 3
    by_events = await pauses_by_events(raw, run.workflow_run_id)
    assert by_events[0] >= 2
    assert by_events[1] >= 3


async def pauses_by_events(raw: RawClient, run_id: str) -> list[float]:
    """Seconds from each failed attempt to the start of the next one, by the engine's own account."""
    detail = await raw.call("/treadle.v1.Runs/Get", id=run_id)
    times = {(event.kind, event.attempt): event.at.seconds + event.at.nanos / 1e9 for event in detail.events}
    return [times["STARTED", attempt + 1] - at for (kind, attempt), at in sorted(times.items()) if kind == "RETRYING"]


async def test_an_error_that_says_no_is_not_retried(tasks: BasicTasks, lab: Lab, mark: str) -> None:
    with pytest.raises(FailedTaskRunExceptionGroup) as failed:
        await tasks.hopeless.aio_run(Marked(mark=mark))

    assert attempts_made(lab, mark) == [0]
    (error,) = failed.value.exceptions
    assert error.exc_type == "NonRetryableException"


async def test_a_delay_asked_for_replaces_the_backoff(tasks: BasicTasks, lab: Lab, mark: str) -> None:
    """Declared with a factor of 30, which would hold the retry for half a minute."""
    attempt = await tasks.asks_for_delay.aio_run(Marked(mark=mark))

    assert attempt.retry_count == 1
    (pause,) = pauses_between_attempts(lab, mark)
    assert 1.2 <= pause < 20


async def test_an_output_with_nul_fails_the_run(tasks: BasicTasks) -> None:
    with pytest.raises(FailedTaskRunExceptionGroup) as failed:
        await tasks.says_nul.aio_run(EmptyModel())

    (error,) = failed.value.exceptions
    assert error.exc_type == "IllegalTaskOutputError"
