"""Triggers come in: each run is checked before any of its batch is stored, and answered once all are durable."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, NamedTuple

import orjson

from treadle.engine.attempt import Attempt
from treadle.engine.commands import Trigger, resolve
from treadle.model.errors import InvalidInput, NotFound, TreadleError, Unsupported
from treadle.model.ids import canonical_id, new_id, time_of
from treadle.model.payload import check_json, check_metadata
from treadle.storage.trigger import parent_runs
from treadle.wire.convert import PARENT_RUN
from treadle.wire.gen.hatchet import workflows_pb2 as pb
from treadle.wire.gen.hatchet.v1 import workflows_pb2 as v1
from treadle.wire.gen.treadle.v1 import runs_pb2
from treadle.wire.status import problem_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from treadle.engine.catalog import Catalog, TaskKind
    from treadle.engine.inbox import Door
    from treadle.runtime.clock import Clock
    from treadle.storage.database import Database
    from treadle.wire.gen.hatchet.v1.shared import trigger_pb2
    from treadle.wire.serving import Caller, Handlers

MAX_RUNS = 1000
"""Most runs in one bulk trigger."""

CHECKED_AT_ONCE = 100
"""After so many runs of one request others get their turn."""

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
    # What the contract calls these, for errors.
    name_field: str = "name"
    metadata_field: str = "additional_metadata"
    parent_field: str = "parent_task_run_external_id"


class _Parent:
    """The task under which a run is started, and what that adds to its metadata: the same for all of one request.

    Args:
        id: the task; None when the text is no id that this system can have made.
    """

    def __init__(self, id: str | None) -> None:  # noqa: A002 - the column's name
        self.id = id
        # The run that it is part of; None when it is not this tenant's.
        self.run_id: str | None = None
        self._metadata: dict[str, str] = {}

    def named_in(self, metadata: str) -> str:
        """A child's metadata with the keys that name its parent."""
        found = self._metadata.get(metadata)
        if found is None:
            values = json.loads(metadata) if metadata else {}
            values[PARENT_RUN] = self.run_id
            values["hatchet__parent_step_run_id"] = self.id
            found = self._metadata[metadata] = json.dumps(values)
        return found


class Triggers:
    """Serves triggers of both contracts.

    Args:
        inbox: the engine's loop.
        catalog: registered task kinds.
        clock: the time.
        max_payload_bytes: largest input.
        database: where parents are that do not run at the moment.
        run_of: the run that a task which waits or runs is part of, so that no table need be asked for it.
    """

    def __init__(
        self,
        *,
        inbox: Door,
        catalog: Catalog,
        clock: Clock,
        max_payload_bytes: int,
        database: Database,
        run_of: Callable[[int, str], str | None],
    ) -> None:
        self._database = database
        self._run_of = run_of
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
        [run_id] = await self._all_or_none([_from_hatchet(request)], caller, [""])
        return pb.TriggerWorkflowResponse(workflow_run_id=run_id)

    async def bulk_trigger(
        self, request: pb.BulkTriggerWorkflowRequest, caller: Caller
    ) -> pb.BulkTriggerWorkflowResponse:
        """Up to 1000 runs, all of them or none."""
        _check_count(len(request.workflows), "workflows")
        ids = await self._all_or_none(
            [_from_hatchet(entry) for entry in request.workflows],
            caller,
            [f"workflows[{index}]." for index in range(len(request.workflows))],
        )
        return pb.BulkTriggerWorkflowResponse(workflow_run_ids=ids)

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
            name_field="workflow_name",
        )
        [run_id] = await self._all_or_none([wanted], caller, [""])
        return v1.TriggerWorkflowRunResponse(external_id=run_id)

    async def start(self, request: runs_pb2.StartRequest, caller: Caller) -> runs_pb2.StartResponse:
        """Up to 1000 runs, each with an outcome of its own."""
        _check_count(len(request.runs), "runs")
        outcomes = await self._each(
            [_from_treadle(run) for run in request.runs],
            caller,
            [f"runs[{index}]." for index in range(len(request.runs))],
        )
        if request.ids_suffice:
            ids = [entry for entry in outcomes if isinstance(entry, str)]
            if len(ids) == len(outcomes):
                return runs_pb2.StartResponse(run_ids=ids)
        return runs_pb2.StartResponse(outcomes=[_outcome(entry) for entry in outcomes])

    async def _all_or_none(self, wanted: list[Wanted], caller: Caller, prefixes: list[str]) -> list[str]:
        """Store runs if every one of them is good; the first that is not is the error."""
        checked = await self._check(wanted, caller, prefixes)
        good = []
        for entry in checked:
            if isinstance(entry, NotFound):
                # This contract has one status for whatever is wrong with a trigger.
                raise InvalidInput(entry.field, entry.message)
            if isinstance(entry, TreadleError):
                raise entry
            good.append(entry)
        return [_or_raise(outcome) for outcome in await self._store(good)]

    async def _each(self, wanted: list[Wanted], caller: Caller, prefixes: list[str]) -> list[str | BaseException]:
        """Store the runs that are good; each has an outcome of its own."""
        checked = await self._check(wanted, caller, prefixes)
        good = [entry for entry in checked if isinstance(entry, Attempt)]
        stored = iter(await self._store(good) if good else ())
        return [next(stored) if isinstance(entry, Attempt) else entry for entry in checked]

    async def _check(self, wanted: list[Wanted], caller: Caller, prefixes: list[str]) -> list[Attempt | TreadleError]:
        """Each run as the engine takes it, or what is wrong with it, by name of the field."""
        kinds: dict[str, TaskKind | TreadleError] = {}
        for name in {run.name for run in wanted}:
            try:
                kinds[name] = self._catalog.cached(caller.tenant_id, name) or await self._catalog.current(
                    caller.tenant_id, name
                )
            except NotFound as problem:
                kinds[name] = problem
        parents = await self._parents({run.parent_id for run in wanted if run.parent_id}, caller)
        checked: list[Attempt | TreadleError] = []
        for place, (run, prefix) in enumerate(zip(wanted, prefixes, strict=True)):
            if place % CHECKED_AT_ONCE == CHECKED_AT_ONCE - 1:
                # A commit that is being written waits for this thread at each of its steps.
                await asyncio.sleep(0)
            try:
                checked.append(self._attempt(kinds[run.name], run, prefix, parents))
            except TreadleError as problem:
                checked.append(problem)
        return checked

    async def _parents(self, texts: set[str], caller: Caller) -> dict[str, _Parent]:
        """The parents that are named, by the texts that name them."""
        parents = {text: _Parent(self._task_id(text)) for text in texts}
        unknown = []
        for parent in parents.values():
            if parent.id is not None:
                parent.run_id = self._run_of(caller.tenant_id, parent.id)
                if parent.run_id is None:
                    unknown.append(parent)
        if unknown:
            ids = [parent.id or "" for parent in unknown]
            async with self._database.connection() as conn:
                runs = await parent_runs(conn, tenant_ids=[caller.tenant_id] * len(ids), ids=ids)
            for parent, parent_id in zip(unknown, ids, strict=True):
                parent.run_id = runs.get(parent_id)
        return parents

    def _task_id(self, text: str) -> str | None:
        """The id of a task that this system can have made: version 7 ids carry their time."""
        found = canonical_id(text)
        made = found is not None and found[14] == "7" and time_of(found) <= self._clock.now() + _DAY
        return found if made else None

    def _attempt(
        self, kind: TaskKind | TreadleError, wanted: Wanted, prefix: str, parents: Mapping[str, _Parent]
    ) -> Attempt:
        if isinstance(kind, TreadleError):
            raise NotFound(prefix + wanted.name_field, kind.message)
        refused = wanted.refused or kind.refused
        if refused:
            raise Unsupported(
                prefix + wanted.name_field,
                f"workflow {wanted.name!r} uses {refused}, which this version does not run yet",
            )
        payload = check_json(
            wanted.input or b"{}",
            f"{prefix}input",
            object_only=True,
            max_bytes=self._max_payload_bytes,
            loads=orjson.loads,
        )
        metadata = ""
        if wanted.metadata:
            metadata = check_metadata(wanted.metadata, prefix + wanted.metadata_field)
        priority = wanted.priority or kind.default_priority
        if priority not in PRIORITIES:
            raise InvalidInput(f"{prefix}priority", f"must be 1, 2 or 3, not {wanted.priority}")
        parent_id = None
        if wanted.parent_id:
            parent = parents[wanted.parent_id]
            parent_id = parent.id
            if parent_id is None:
                raise InvalidInput(prefix + wanted.parent_field, f"{wanted.parent_id[:64]!r} is no task's id")
            if len(wanted.child_key) > MAX_KEY or "\0" in wanted.child_key:
                raise InvalidInput(f"{prefix}child_key", f"must be at most {MAX_KEY} characters, without NUL")
            if parent.run_id is None:
                raise InvalidInput(prefix + wanted.parent_field, f"no task {parent_id}")
            metadata = parent.named_in(metadata)
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
        "task",
        "metadata",
        "parent_task_id",
    )


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
    return runs_pb2.StartOutcome(problem=problem_of(outcome))
