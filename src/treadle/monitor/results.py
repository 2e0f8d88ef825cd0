"""Streams of results: Dispatcher/SubscribeToWorkflowRuns for Hatchet clients, treadle.v1.Runs/Await for ours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from treadle.model.errors import Exhausted
from treadle.model.ids import canonical_id
from treadle.model.states import RunStatus
from treadle.monitor.steps import WITH_OUTPUT, fitting, named_outputs, too_large_here, without_reasons
from treadle.storage.outcome import first_error
from treadle.wire.convert import TREADLE_STATUS, hatchet_time
from treadle.wire.gen.hatchet import dispatcher_pb2 as pb
from treadle.wire.gen.treadle.v1 import runs_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
    from typing import Any

    from treadle.engine.ports import Ended, StepEnd
    from treadle.monitor.audience import RunAudience
    from treadle.runtime.clock import Clock
    from treadle.wire.serving import Caller, Handlers, Stream

MAX_AWAITED = 200_000
"""Most runs that one stream waits for at a time."""

MAX_RESULT = 3 * 1024 * 1024
"""Results above this many bytes are left out of stream messages, which must stay below 4 MiB."""

MAX_ERROR = 256 * 1024
"""So much of what went wrong is told a second time, for a workflow run as a whole."""

_MESSAGE_BYTES = 3 * 1024 * 1024
# What a task takes in a message besides output and error, about; its name may be longer.
_TASK_BYTES = 256


class _End(NamedTuple):
    """A run that has ended; a workflow run, with its tasks."""

    ended: Ended
    steps: Sequence[StepEnd]


class _Ends:
    """What one stream waits for, and what it has to send. Each run asked for is answered once."""

    wants_steps = True

    def __init__(self) -> None:
        self.awaited: set[str] = set()
        self.ready: list[_End] = []
        self.missing: list[str] = []
        self.filled = asyncio.Event()
        self.closed = False

    def add(self, ids: list[str]) -> None:
        if len(self.awaited) + len(ids) > MAX_AWAITED:
            raise Exhausted("run_ids", f"one stream waits for at most {MAX_AWAITED} runs; open another")
        self.awaited.update(ids)

    def ended(self, ended: Ended, steps: Sequence[StepEnd] = ()) -> None:
        self.awaited.discard(ended.task_id)
        self.ready.append(_End(ended, steps))
        self.filled.set()

    def unknown(self, task_id: str) -> None:
        self.missing.append(task_id)
        self.filled.set()


class Results:
    """Serves streams of results.

    Args:
        audience: who is told of ends.
        clock: the time.
    """

    def __init__(self, audience: RunAudience, clock: Clock) -> None:
        self._audience = audience
        self._clock = clock
        self._open: set[_Ends] = set()

    def close(self) -> None:
        """The engine is stopping: streams end, and clients ask the next engine again."""
        for ends in self._open:
            ends.closed = True
            ends.filled.set()

    def handlers(self) -> Handlers:
        """What this module serves."""
        return {
            "/Dispatcher/SubscribeToWorkflowRuns": self.subscribe_to_workflow_runs,
            "/treadle.v1.Runs/Await": self.await_runs,
        }

    async def await_runs(self, requests: AsyncIterator[runs_pb2.AwaitRequest], caller: Caller, stream: Stream) -> None:
        """Results in batches, as they come. Ends once the client has closed its side and all is answered."""
        ends = _Ends()

        async def read() -> None:
            async for request in requests:
                ids = [found for text in request.run_ids if (found := canonical_id(text)) is not None]
                for text in request.run_ids:
                    if canonical_id(text) is None:
                        ends.unknown(text)
                ends.add(ids)
                self._audience.wait_for(caller.tenant_id, ids, ends)

        async def write() -> None:
            ready, ends.ready = ends.ready, []
            missing, ends.missing = ends.missing, []
            self._audience.stop_waiting(caller.tenant_id, missing, ends)
            ends.awaited.difference_update(missing)
            response = runs_pb2.AwaitResponse(
                results=[runs_pb2.RunResult(run_id=task_id, not_found=True) for task_id in missing]
            )
            size = 0
            for entry in ready:
                result = _run_result(entry)
                size += len(result.output) + len(result.error) + 128
                size += sum(len(end.output or b"") + len(end.error or "") + 128 for end in entry.steps)
                if size > _MESSAGE_BYTES and response.results:
                    await stream.write(response)
                    response = runs_pb2.AwaitResponse()
                    size = 0
                response.results.append(result)
            if response.results:
                await stream.write(response)

        await self._pump(ends, read, write, caller)

    async def subscribe_to_workflow_runs(
        self, requests: AsyncIterator[pb.SubscribeToWorkflowRunsRequest], caller: Caller, stream: Stream
    ) -> None:
        """One FINISHED event per run asked for. An unknown run stays unanswered: it may be about to exist."""
        ends = _Ends()

        async def read() -> None:
            async for request in requests:
                task_id = canonical_id(request.workflow_run_id)
                if task_id is not None:
                    ends.add([task_id])
                    self._audience.wait_for(caller.tenant_id, [task_id], ends)
            # The SDKs keep their side open; one that closes it still wants what it asked for.

        async def write() -> None:
            ends.missing.clear()
            ready, ends.ready = ends.ready, []
            for entry in ready:
                await stream.write(
                    pb.WorkflowRunEvent(
                        workflow_run_id=entry.ended.task_id,
                        event_type=pb.WORKFLOW_RUN_EVENT_TYPE_FINISHED,
                        event_timestamp=hatchet_time(int(self._clock.now() * 1_000_000)),
                        results=_step_results(entry),
                    )
                )

        await self._pump(ends, read, write, caller)

    async def _pump(
        self,
        ends: _Ends,
        read: Callable[[], Coroutine[Any, Any, None]],
        write: Callable[[], Coroutine[Any, Any, None]],
        caller: Caller,
    ) -> None:
        """Read and write side by side until the client has closed its side and has every answer."""
        reader = asyncio.ensure_future(read())
        reader.add_done_callback(lambda _: ends.filled.set())
        self._open.add(ends)
        try:
            while not ends.closed:
                await ends.filled.wait()
                ends.filled.clear()
                await write()
                if reader.done():
                    reader.result()
                    if not ends.awaited and not ends.ready:
                        return
        finally:
            reader.cancel()
            self._open.discard(ends)
            self._audience.stop_waiting(caller.tenant_id, list(ends.awaited), ends)


def _run_result(entry: _End) -> runs_pb2.RunResult:
    ended, steps = entry
    # Field by field, as that costs a third of what keyword arguments do.
    result = runs_pb2.RunResult()
    result.run_id = ended.task_id
    result.status = TREADLE_STATUS[ended.status]
    if ended.output:
        result.output = ended.output
    if ended.error:
        result.error = ended.error
    if steps:
        size = add_tasks(fitting(steps, MAX_RESULT), result)
        # The outputs stand in the tasks already: once more, together, only where there is room.
        if 2 * size <= MAX_RESULT:
            result.output = named_outputs(steps)
        if ended.status is RunStatus.FAILED:
            result.error = (first_error(steps) or "")[:MAX_ERROR]
    return result


def add_tasks(ends: Sequence[StepEnd], message: runs_pb2.RunResult | runs_pb2.RunDetail) -> int:
    """Name the tasks of a workflow run that have come to be; returns about how many bytes that takes."""
    size = 0
    add = message.tasks.add
    for end in ends:
        task = add()
        task.name = end.name
        task.task_id = end.task_id
        task.status = TREADLE_STATUS[end.status]
        task.attempt = end.attempt
        if end.output:
            task.output = end.output
            size += len(end.output)
        if end.error:
            task.error = end.error
            size += 4 * len(end.error)
    return size + _TASK_BYTES * len(ends)


def _step_results(entry: _End) -> list[pb.StepRunResult]:
    """One result per task, together below the size of a message."""
    ended, steps = entry
    if steps:
        return [_step_result(end.task_id, end.name, end) for end in fitting(without_reasons(steps), MAX_RESULT)]
    return [_step_result(ended.task_id, ended.kind.definition.readable_id, ended)]


def _step_result(task_id: str, name: str, entry: Ended | StepEnd) -> pb.StepRunResult:
    result = pb.StepRunResult(task_run_external_id=task_id, task_name=name, job_run_id=task_id)
    if entry.status in WITH_OUTPUT:
        output = entry.output or b""
        if len(output) > MAX_RESULT:
            result.error = too_large_here(output)
        elif output:
            result.output = output.decode()
        elif entry.error:
            result.error = entry.error
    elif entry.status is RunStatus.CANCELLED:
        # Set but empty, unless the engine has something to say: that is how the SDKs tell it from a failure.
        result.error = entry.error or ""
    else:
        result.error = entry.error or "failed"
    return result
