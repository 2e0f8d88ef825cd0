"""The functions behind the tasks of `basic`. Plain functions: the test process never runs them."""

import asyncio
import time
from datetime import timedelta
from typing import Any

from hatchet_sdk import Context, EmptyModel
from hatchet_sdk.exceptions import NonRetryableException, RetryAfterException

from tests.conformance.workers.effects import Effects
from tests.conformance.workers.models import (
    Attempt,
    Child,
    Doubled,
    Flaky,
    Marked,
    Number,
    Numbered,
    Seen,
    Square,
    Text,
)


def _effects() -> Effects:
    return Effects.of_this_process()


def _attempt(ctx: Context) -> Attempt:
    return Attempt(retry_count=ctx.retry_count, attempt_number=ctx.attempt_number, max_attempts=ctx.max_attempts)


def seen_by(ctx: Context) -> Seen:
    return Seen(
        workflow_run_id=ctx.workflow_run_id,
        task_run_id=ctx.task_run_id,
        workflow_id=ctx.workflow_id,
        workflow_version_id=ctx.workflow_version_id,
        workflow_name=ctx.workflow_name,
        task_name=ctx.task_name,
        additional_metadata=dict(ctx.additional_metadata),
        priority=ctx.priority,
        parent_workflow_run_id=ctx.parent_workflow_run_id,
        child_index=ctx.child_index,
        child_key=ctx.child_key,
    )


async def double(given: Number, ctx: Context) -> Doubled:
    return Doubled(value=given.value * 2, worker_id=ctx.worker_id)


def double_in_thread(given: Number, ctx: Context) -> Doubled:
    return Doubled(value=given.value * 2, worker_id=ctx.worker_id)


async def flaky(given: Flaky, ctx: Context) -> Attempt:
    _effects().record(given.mark, "attempt", retry_count=ctx.retry_count)
    if ctx.retry_count < given.failures:
        raise ValueError(f"{given.message} {ctx.retry_count}")
    return _attempt(ctx)


async def hopeless(given: Marked, ctx: Context) -> None:
    _effects().record(given.mark, "attempt", retry_count=ctx.retry_count)
    raise NonRetryableException("no use to try again")


async def asks_for_delay(given: Marked, ctx: Context) -> Attempt:
    _effects().record(given.mark, "attempt", retry_count=ctx.retry_count)
    if ctx.retry_count == 0:
        raise RetryAfterException("come back later", after=timedelta(milliseconds=1200))
    return _attempt(ctx)


async def outlasts_its_timeout(given: Marked, ctx: Context) -> None:
    _effects().record(given.mark, "attempt", retry_count=ctx.retry_count)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        _effects().record(given.mark, "stopped", retry_count=ctx.retry_count)
        raise


async def refreshes_its_timeout(given: Marked, ctx: Context) -> Attempt:
    _effects().record(given.mark, "attempt", retry_count=ctx.retry_count)
    await ctx.aio_refresh_timeout(timedelta(seconds=5))
    await ctx.aio_refresh_timeout(timedelta(seconds=5))
    # Longer than the timeout it was declared with: only the refreshed one lets it end.
    await asyncio.sleep(2.5)
    return _attempt(ctx)


async def patient(given: Marked, ctx: Context) -> Attempt:
    effects = _effects()
    effects.record(given.mark, "started", worker_id=ctx.worker_id, retry_count=ctx.retry_count)
    try:
        await effects.wait(given.mark)
    except asyncio.CancelledError:
        effects.record(given.mark, "stopped", flagged=ctx.is_cancelled)
        raise
    effects.record(given.mark, "finished")
    return _attempt(ctx)


def patient_in_thread(given: Marked, ctx: Context) -> Attempt:
    effects = _effects()
    effects.record(given.mark, "started", worker_id=ctx.worker_id, retry_count=ctx.retry_count)
    while not effects.is_open(given.mark):
        if ctx.is_cancelled:
            effects.record(given.mark, "stopped", flagged=True)
            break
        time.sleep(0.02)
    return _attempt(ctx)


async def leaves_its_slot(given: Marked, ctx: Context) -> Attempt:
    effects = _effects()
    await ctx.aio_release_slot()
    effects.record(given.mark, "started")
    await effects.wait(given.mark)
    return _attempt(ctx)


async def cancels_itself(given: Marked, ctx: Context) -> None:
    effects = _effects()
    effects.record(given.mark, "started")
    await ctx.aio_cancel()
    await effects.wait(given.mark)


async def numbered(given: Numbered, ctx: Context) -> None:
    _effects().record(given.mark, "ran", number=given.number, priority=ctx.priority)


async def look_around(given: EmptyModel, ctx: Context) -> Seen:
    return seen_by(ctx)


async def square(given: Child, ctx: Context) -> Square:
    _effects().record(given.mark, "child", number=given.number, run_id=ctx.workflow_run_id)
    return Square(value=given.number**2, seen=seen_by(ctx).model_dump())


async def streams(given: Marked, ctx: Context) -> None:
    """Numbered chunks until the gate opens, then a few more."""
    effects = _effects()
    effects.record(given.mark, "started")
    sent = left = 0
    while left < 5:
        await ctx.aio_put_stream(f"chunk {sent}")
        sent += 1
        left += effects.is_open(given.mark)
        await asyncio.sleep(0.02)
    effects.record(given.mark, "sent", chunks=sent)


async def talks(given: Text, ctx: Context) -> None:
    ctx.log(given.text)
    ctx.log({"as": "json", "attempt": ctx.retry_count})
    await ctx.aio_log("last line")


async def echo(given: Text, ctx: Context) -> Text:
    return given


async def says_nothing(given: EmptyModel, ctx: Context) -> None:
    return None


async def says_nul(given: EmptyModel, ctx: Context) -> dict[str, Any]:
    return {"text": "a\x00b"}


async def labels_itself(given: EmptyModel, ctx: Context) -> dict[str, Any]:
    await ctx.aio_upsert_worker_labels({"model": "large", "memory": 512})
    return dict(ctx.worker_labels)
