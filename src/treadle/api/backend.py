"""What the REST edge needs from the engine, and the plain data that passes between them.

The engine side is put together in `server`; nothing here knows tables or protobuf. Methods raise the errors of
`treadle.model.errors`; `errors.py` turns those into statuses.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from treadle.model.states import EventKind, RunStatus


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling: the tenant that a valid token belongs to."""

    tenant_id: str
    token_id: str


@dataclass(frozen=True, slots=True)
class RunSelection:
    """Which runs to touch: those named, or those that match every part of the filter that is given."""

    ids: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    statuses: tuple[RunStatus, ...] = ()
    workflow_ids: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    # Whether all of the metadata must match, instead of any.
    all_metadata: bool = False
    # Whether the tasks of workflow runs are meant instead of the workflow runs.
    tasks: bool = False
    parent_id: str | None = None
    worker_id: str | None = None


@dataclass(frozen=True, slots=True)
class RunView:
    """A run, or a task of a workflow run, as monitoring shows it. Times are aware and in UTC; payloads are JSON.

    `run_id` is the run that a task is part of, and otherwise its own. A workflow run has its tasks as `steps`, and no
    `step_id`.
    """

    id: str
    run_id: str
    name: str
    workflow_id: str
    workflow_name: str
    version_id: str
    status: RunStatus
    attempt: int
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    step_id: str | None = None
    action: str = ""
    is_durable: bool = False
    metadata: str | None = None
    parent_id: str | None = None
    input: bytes | None = None
    output: bytes | None = None
    error: str | None = None
    spawned: int = 0
    # Whether payloads were asked for and left out, because there were too many bytes of them.
    restricted: bool = False
    steps: "tuple[RunView, ...]" = ()


@dataclass(frozen=True, slots=True)
class EventView:
    """Something that happened to a task, or to a run as a whole."""

    at: datetime
    kind: EventKind
    task_id: str
    name: str
    attempt: int
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class StepView:
    """A step of a workflow: its task in a run, if that has come to be, and the steps that wait for it."""

    step_id: str
    name: str
    children: tuple[str, ...]
    task_id: str | None = None


@dataclass(frozen=True, slots=True)
class RunDetailsView:
    """A run with its tasks, what happened to them, and the shape of its workflow."""

    run: RunView
    tasks: tuple[RunView, ...]
    events: tuple[EventView, ...]
    shape: tuple[StepView, ...]


@dataclass(frozen=True, slots=True)
class SlotView:
    """The slots of one type: how many a worker has, and how many of them are free."""

    available: int
    limit: int


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker, as monitoring shows it. Times are aware and in UTC."""

    id: str
    name: str
    status: Literal["ACTIVE", "INACTIVE", "PAUSED"]
    created_at: datetime
    updated_at: datetime
    last_heartbeat_at: datetime | None = None
    last_listener_at: datetime | None = None
    actions: tuple[str, ...] = ()
    slots: dict[str, SlotView] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    sdk_version: str = ""
    language: Literal["GOLANG", "PYTHON", "TYPESCRIPT", "RUBY"] | None = None
    language_version: str = ""
    os: str = ""
    runtime_extra: str = ""


class ApiBackend(Protocol):
    """The engine behind the REST edge."""

    @property
    def version(self) -> str:
        """The engine's version."""
        ...

    def why_not_ready(self) -> str | None:
        """Why this process cannot take work now, in a few words; None when it can."""
        ...

    def warning(self) -> str | None:
        """What somebody should look at soon, although this process takes work; None when all is well."""
        ...

    async def authenticate(self, token: str) -> Principal:
        """The caller behind a token. Raises PermissionDenied for one that is forged, expired or revoked."""
        ...

    async def worker(self, caller: Principal, worker_id: str) -> WorkerView:
        """Raises NotFound, or PermissionDenied for another tenant's worker."""
        ...

    async def pause_worker(self, caller: Principal, worker_id: str, *, paused: bool) -> WorkerView:
        """Stop or resume giving work to a worker. Raises as `worker` does."""
        ...

    async def run_status(self, caller: Principal, run_id: str) -> RunStatus:
        """Raises NotFound, or PermissionDenied for another tenant's run."""
        ...

    async def run(self, caller: Principal, run_id: str) -> RunDetailsView:
        """Raises NotFound."""
        ...

    async def task(self, caller: Principal, task_id: str) -> RunView:
        """A run of one task, or a task of a workflow run. Raises NotFound."""
        ...

    async def list_runs(
        self, caller: Principal, selection: RunSelection, *, offset: int, limit: int, payloads: bool
    ) -> list[RunView]:
        """A page of the runs selected, newest first."""
        ...

    async def start_run(
        self, caller: Principal, name: str, payload: bytes, metadata: bytes, priority: int | None
    ) -> str:
        """Start a run; its id. Raises InvalidInput."""
        ...

    async def find_runs(self, caller: Principal, selection: RunSelection) -> list[str]:
        """Ids of the runs selected, newest first."""
        ...

    async def cancel_runs(self, caller: Principal, selection: RunSelection) -> list[str]:
        """Cancel what is not finished; ids of the runs that this call cancelled."""
        ...

    async def replay_runs(self, caller: Principal, selection: RunSelection) -> list[str]:
        """Queue finished runs again, with a fresh attempt; their ids."""
        ...
