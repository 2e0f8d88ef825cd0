"""What the REST edge needs from the engine, and the plain data that passes between them.

The engine side is put together in `server`; nothing here knows tables or protobuf. Methods raise the errors of
`treadle.model.errors`; `errors.py` turns those into statuses.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from treadle.model.states import RunStatus


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

    async def find_runs(self, caller: Principal, selection: RunSelection) -> list[str]:
        """Ids of the runs selected, newest first."""
        ...

    async def cancel_runs(self, caller: Principal, selection: RunSelection) -> list[str]:
        """Cancel what is not finished; ids of the runs that this call cancelled."""
        ...

    async def replay_runs(self, caller: Principal, selection: RunSelection) -> list[str]:
        """Queue finished runs again, with a fresh attempt; their ids."""
        ...
