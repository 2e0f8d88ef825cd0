"""Triggers come in: each run is checked before any of its batch is stored, and answered once all are durable."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, NamedTuple

import orjson

from treadle.engine.attempt import Attempt
from treadle.engine.commands import Trigger, resolve
from treadle.model.errors import InvalidInput, TreadleError, Unavailable, Unsupported
from treadle.model.ids import canonical_id, new_id, time_of
from treadle.model.payload import check_json, check_metadata
from treadle.wire.gen.hatchet import workflows_pb2 as pb
from treadle.wire.gen.hatchet.v1 import workflows_pb2 as v1
from treadle.wire.gen.treadle.v1 import runs_pb2
from treadle.wire.status import code_number

if TYPE_CHECKING:
    from treadle.engine.catalog import Catalog, TaskKind
    from treadle.engine.inbox import Inbox
    from treadle.runtime.clock import Clock
    from treadle.wire.gen.hatchet.v1.shared import trigger_pb2
    from treadle.wire.serving import Caller, Handlers

MAX_RUNS = 1000
"""Most runs in one bulk trigger."""

MAX_KEY = 1024
PRIORITIES = (1, 2, 3)
_DAY = 86_400.0


class Wanted(NamedTuple):
    """A run that someone wants, in neither contract's words. Empty texts stand for "not given"."""

    name: str
    input: bytes
    metadata: str
    priority: int
    parent_id: str
    child_index: int | None
    child_key: str
    refused: str


class Triggers:
    """Serves triggers of both contracts.

    Args:
        inbox: the engine's loop.
        catalog: registered task kinds.
        clock: the time.
        max_payload_bytes: largest input.
    """

    def __init__(self, *, inbox: Inbox, catalog: Catalog, clock: Clock, max_payload_bytes: int) -> None:
        self._inbox = inbox
        self._catalog = catalog
        self._clock = clock
        self._max_payload_bytes = max_payload_bytes

    def handlers(self) -> Handlers:
        """What this module serves."""
        return {
            "/WorkflowService/TriggerWorkflow": self.trigger,
            "/WorkflowService/BulkTriggerWorkflow": self.bulk_trigger,
            "/v1.AdminService/TriggerWorkflowRun": self.trigger_run,
            "/treadle.v1.Runs/Start": self.start,
        }

    async def trigger(self, request: trigger_pb2.TriggerWorkflowRequest, caller: Caller) -> pb.TriggerWorkflowResponse:
        """One run."""
        attempt = await self._check(_from_hatchet(request), caller, prefix="")
        [outcome] = await self._store([attempt])
        return pb.TriggerWorkflowResponse(workflow_run_id=_or_raise(outcome))

    async def bulk_trigger(
        self, request: pb.BulkTriggerWorkflowRequest, caller: Caller
    ) -> pb.BulkTriggerWorkflowResponse:
        """Up to 1000 runs, all of them or none."""
        _check_count(len(request.workflows), "workflows")
        attempts = [
            await self._check(_from_hatchet(entry), caller, prefix=f"workflows[{index}].")
            for index, entry in enumerate(request.workflows)
        ]
        outcomes = await self._store(attempts)
        return pb.BulkTriggerWorkflowResponse(workflow_run_ids=[_or_raise(outcome) for outcome in outcomes])

    async def trigger_run(self, request: v1.TriggerWorkflowRunRequest, caller: Caller) -> v1.TriggerWorkflowRunResponse:
        """One run, its payloads as bytes."""
        wanted = Wanted(
            request.workflow_name,
            request.input,
            _text(request.additional_metadata, "additional_metadata"),
            request.priority if request.HasField("priority") else 0,
            "",
            None,
            "",
            "desired_worker_labels" if request.desired_worker_labels else "",
        )
        [outcome] = await self._store([await self._check(wanted, caller, prefix="")])
        return v1.TriggerWorkflowRunResponse(external_id=_or_raise(outcome))

    async def start(self, request: runs_pb2.StartRequest, caller: Caller) -> runs_pb2.StartResponse:
        """Up to 1000 runs, each with an outcome of its own."""
        _check_count(len(request.runs), "runs")
        outcomes: list[str | BaseException] = []
        good: list[Attempt] = []
        places: list[int] = []
        for index, run in enumerate(request.runs):
            try:
                good.append(await self._check(_from_treadle(run), caller, prefix=f"runs[{index}]."))
                places.append(index)
                outcomes.append("")
            except TreadleError as problem:
                outcomes.append(problem)
        if good:
            for place, outcome in zip(places, await self._store(good), strict=True):
                outcomes[place] = outcome
        return runs_pb2.StartResponse(outcomes=[_outcome(entry) for entry in outcomes])

    async def _check(self, wanted: Wanted, caller: Caller, *, prefix: str) -> Attempt:
        """A run as the engine takes it.

        Raises:
            InvalidInput: something about it is wrong; the error names the field.
            Unsupported: it asks for something that this engine cannot do.
        """
        kind = self._catalog.cached(caller.tenant_id, wanted.name)
        if kind is None:
            try:
                kind = await self._catalog.current(caller.tenant_id, wanted.name)
            except InvalidInput as problem:
                raise InvalidInput(prefix + problem.field, problem.message) from None
        refused = wanted.refused or kind.refused
        if refused:
            raise Unsupported(
                f"{prefix}name", f"workflow {wanted.name!r} uses {refused}, which this version does not run yet"
            )
        payload = check_json(
            wanted.input or b"{}",
            f"{prefix}input",
            object_only=True,
            max_bytes=self._max_payload_bytes,
            loads=orjson.loads,
        )
        metadata = check_metadata(wanted.metadata, f"{prefix}additional_metadata") if wanted.metadata else ""
        return self._attempt(kind, wanted, payload, metadata, prefix)

    def _attempt(self, kind: TaskKind, wanted: Wanted, payload: bytes, metadata: str, prefix: str) -> Attempt:
        priority = wanted.priority or kind.default_priority
        if priority not in PRIORITIES:
            raise InvalidInput(f"{prefix}priority", f"must be 1, 2 or 3, not {wanted.priority}")
        parent_id = None
        if wanted.parent_id:
            parent_id = canonical_id(wanted.parent_id)
            # Version 7 ids carry their time: one that this system cannot have made is refused here, not by a table.
            if parent_id is None or parent_id[14] != "7" or time_of(parent_id) > self._clock.now() + _DAY:
                raise InvalidInput(f"{prefix}parent_task_run_external_id", f"{wanted.parent_id[:64]!r} is no task's id")
            if len(wanted.child_key) > MAX_KEY or "\0" in wanted.child_key:
                raise InvalidInput(f"{prefix}child_key", f"must be at most {MAX_KEY} characters, without NUL")
            metadata = _with_parent(metadata, parent_id)
        return Attempt(
            kind=kind,
            task_id=new_id(),
            attempt=1,
            priority=priority,
            input=payload,
            metadata=metadata or None,
            parent_id=parent_id,
            child_index=wanted.child_index if parent_id else None,
            child_key=wanted.child_key or None if parent_id else None,
            created_at=self._clock.now(),
        )

    async def _store(self, attempts: list[Attempt]) -> list[str | BaseException]:
        future: asyncio.Future[list[str | BaseException]] = asyncio.get_running_loop().create_future()
        self._inbox.put(Trigger(attempts, lambda outcomes: resolve(future, outcomes)))
        return await future


def _from_hatchet(request: trigger_pb2.TriggerWorkflowRequest) -> Wanted:
    return Wanted(
        request.name,
        request.input.encode(),
        request.additional_metadata,
        request.priority if request.HasField("priority") else 0,
        request.parent_task_run_external_id,
        request.child_index if request.HasField("child_index") else None,
        request.child_key,
        "desired_worker_id"
        if request.desired_worker_id
        else "desired_worker_labels"
        if request.desired_worker_labels
        else "",
    )


def _from_treadle(run: runs_pb2.NewRun) -> Wanted:
    return Wanted(
        run.task,
        run.input,
        run.metadata,
        run.priority,
        run.parent_task_id,
        run.child_index if run.HasField("child_index") else None,
        run.child_key,
        "",
    )


def _with_parent(metadata: str, parent_id: str) -> str:
    """A child's metadata with the keys that name its parent."""
    values = json.loads(metadata) if metadata else {}
    values["hatchet__parent_workflow_run_id"] = parent_id
    values["hatchet__parent_step_run_id"] = parent_id
    return json.dumps(values)


def _check_count(count: int, field: str) -> None:
    if not 1 <= count <= MAX_RUNS:
        raise InvalidInput(field, f"must hold 1 to {MAX_RUNS} runs, not {count}")


def _text(data: bytes, field: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidInput(field, "is not UTF-8") from None


def _or_raise(outcome: str | BaseException) -> str:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _outcome(outcome: str | BaseException) -> runs_pb2.StartOutcome:
    if isinstance(outcome, str):
        return runs_pb2.StartOutcome(run_id=outcome)
    problem = outcome if isinstance(outcome, TreadleError) else Unavailable("engine", str(outcome))
    return runs_pb2.StartOutcome(
        problem=runs_pb2.Problem(code=code_number(problem), field=problem.field, message=problem.message)
    )
