"""The engine as the REST edge sees it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, cast

from treadle.api.backend import Principal, RunDetailsView, RunSelection, RunView, SlotView, WorkerView
from treadle.engine.commands import WorkerChanged
from treadle.model.errors import NotFound
from treadle.runtime.clock import moment
from treadle.storage import register as workers
from treadle.storage.find import RunFilter
from treadle.storage.read import run_rows
from treadle.wire.gen.hatchet.v1 import workflows_pb2 as v1

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.dispatcher.liveness import Liveness
    from treadle.engine.inbox import Door
    from treadle.engine.running import Running
    from treadle.intake.select import Selections
    from treadle.intake.trigger import Triggers
    from treadle.model.states import RunStatus
    from treadle.runtime.clock import Clock
    from treadle.server.run_views import RunViews
    from treadle.server.tokens import Gate
    from treadle.storage.database import Database
    from treadle.storage.register import WorkerRow
    from treadle.wire.serving import Caller

_LANGUAGES = {"GO": "GOLANG", "PYTHON": "PYTHON", "TYPESCRIPT": "TYPESCRIPT", "RUBY": "RUBY"}
_ACTIVE_WITHIN = 5.0


class EngineBackend:
    """Implements `api.backend.ApiBackend` over the parts of this process."""

    def __init__(
        self,
        *,
        version: str,
        database: Database,
        gate: Gate,
        inbox: Door,
        liveness: Liveness,
        selections: Selections,
        triggers: Triggers,
        views: RunViews,
        running: Callable[[], Running],
        clock: Clock,
        warning: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._warning = warning
        self.version = version
        self.ready = False
        self._database = database
        self._gate = gate
        self._inbox = inbox
        self._liveness = liveness
        self._selections = selections
        self._triggers = triggers
        self._views = views
        self._running = running
        self._clock = clock
        self._callers: dict[str, Caller] = {}

    def why_not_ready(self) -> str | None:
        """Why this process cannot take work now."""
        return None if self.ready else "starting, or waiting for another engine to leave"

    def warning(self) -> str | None:
        """What somebody should look at soon, although this process takes work."""
        return self._warning()

    async def authenticate(self, token: str) -> Principal:
        """The caller behind a token."""
        caller = await self._gate.check(token)
        self._callers[caller.token_id] = caller
        return Principal(caller.tenant, caller.token_id)

    async def worker(self, caller: Principal, worker_id: str) -> WorkerView:
        """One worker of the caller's tenant."""
        async with self._database.connection() as conn:
            row = await workers.find_worker(conn, tenant_id=self._caller(caller).tenant_id, id=worker_id)
        if row is None:
            raise NotFound("worker", f"no worker {worker_id}")
        return self._view(row)

    async def pause_worker(self, caller: Principal, worker_id: str, *, paused: bool) -> WorkerView:
        """Stop or resume giving work to a worker."""
        await self.worker(caller, worker_id)
        async with self._database.connection() as conn:
            await workers.set_worker_paused(conn, tenant_id=self._caller(caller).tenant_id, id=worker_id, paused=paused)
        self._inbox.put_control(WorkerChanged(self._caller(caller).tenant_id, worker_id, None, available=not paused))
        return await self.worker(caller, worker_id)

    async def run_status(self, caller: Principal, run_id: str) -> RunStatus:
        """Where a run is."""
        async with self._database.connection() as conn:
            found = await run_rows(conn, tenant_id=self._caller(caller).tenant_id, ids=[run_id])
        if not found:
            raise NotFound("run", f"no run {run_id}")
        return found[0].status

    async def run(self, caller: Principal, run_id: str) -> RunDetailsView:
        """One run with its tasks and their history."""
        return await self._views.run(self._caller(caller).tenant_id, run_id)

    async def task(self, caller: Principal, task_id: str) -> RunView:
        """A run of one task, or a task of a workflow run."""
        return await self._views.task(self._caller(caller).tenant_id, task_id)

    async def list_runs(
        self, caller: Principal, selection: RunSelection, *, offset: int, limit: int, payloads: bool
    ) -> list[RunView]:
        """A page of the runs selected, newest first."""
        return await self._views.page(
            self._caller(caller).tenant_id, _filter(selection), offset=offset, limit=limit, payloads=payloads
        )

    async def start_run(
        self, caller: Principal, name: str, payload: bytes, metadata: bytes, priority: int | None
    ) -> str:
        """Start a run; its id."""
        request = v1.TriggerWorkflowRunRequest(
            workflow_name=name, input=payload, additional_metadata=metadata, priority=priority
        )
        return (await self._triggers.trigger_run(request, self._caller(caller))).external_id

    async def find_runs(self, caller: Principal, selection: RunSelection) -> list[str]:
        """Ids of the runs selected, newest first."""
        return await self._selections.find(_filter(selection), self._caller(caller))

    async def cancel_runs(self, caller: Principal, selection: RunSelection) -> list[str]:
        """Cancel what has not ended."""
        return await self._selections.cancel(await self._chosen(caller, selection), self._caller(caller))

    async def replay_runs(self, caller: Principal, selection: RunSelection) -> list[str]:
        """Run ended runs again."""
        return await self._selections.replay(await self._chosen(caller, selection), self._caller(caller))

    async def _chosen(self, caller: Principal, selection: RunSelection) -> list[str]:
        # A task that has been named may not have come to be yet: whether there is one is for the engine to say.
        return list(selection.ids) if selection.ids else await self.find_runs(caller, selection)

    def _caller(self, principal: Principal) -> Caller:
        return self._callers[principal.token_id]

    def _view(self, row: WorkerRow) -> WorkerView:
        seen = self._liveness.last_seen(row.id)
        active = seen is not None and self._clock.now() - seen < _ACTIVE_WITHIN
        used: dict[str, int] = {}
        for attempt in self._running().of_worker(row.id):
            for slot_type, units in attempt.kind.slots if attempt.holds_slot else ():
                used[slot_type] = used.get(slot_type, 0) + units
        runtime = json.loads(row.runtime)
        language = _LANGUAGES.get(runtime.get("language", ""))
        last_seen = row.last_seen_at if seen is None else moment(seen)
        return WorkerView(
            id=row.id,
            name=row.name,
            status="PAUSED" if row.paused else "ACTIVE" if active else "INACTIVE",
            created_at=row.registered_at,
            updated_at=last_seen,
            last_heartbeat_at=last_seen,
            last_listener_at=last_seen,
            actions=tuple(row.actions),
            slots={
                slot_type: SlotView(available=units - used.get(slot_type, 0), limit=units)
                for slot_type, units in json.loads(row.slots).items()
            },
            labels={key: str(value) for key, value in json.loads(row.labels).items()},
            sdk_version=runtime.get("sdk_version", ""),
            language=cast("Literal['GOLANG', 'PYTHON', 'TYPESCRIPT', 'RUBY'] | None", language),
            language_version=runtime.get("language_version", ""),
            os=runtime.get("os", ""),
            runtime_extra=runtime.get("extra", ""),
        )


def _filter(selection: RunSelection) -> RunFilter:
    return RunFilter(
        statuses=selection.statuses,
        since=selection.since,
        until=selection.until,
        workflow_ids=selection.workflow_ids,
        metadata=selection.metadata,
        all_metadata=selection.all_metadata,
        tasks=selection.tasks,
        parent_id=selection.parent_id,
        worker_id=selection.worker_id,
    )
