"""What a chaos run is judged by: what the client was told, what the workers did, and what the database says at the end."""

from collections import defaultdict
from dataclasses import dataclass, field

from tests.chaos.effects import EffectLine
from treadle.model.states import EventKind, RunStatus


@dataclass(frozen=True, slots=True)
class Observed:
    """A result as some reader saw it. The same run must look the same to every reader, at any time."""

    status: RunStatus
    output: bytes
    error: str


@dataclass(slots=True)
class ClientLog:
    """What the client sent and what it was told. A run is known by the number in its input.

    `uncertain` are numbers whose call broke before an answer: each may exist once, or not at all. `vanished` are
    acknowledged runs of which the engine said later that it knows nothing.
    """

    acknowledged: dict[str, int] = field(default_factory=dict)
    uncertain: set[int] = field(default_factory=set)
    refused: dict[int, str] = field(default_factory=dict)
    observed: dict[str, set[Observed]] = field(default_factory=lambda: defaultdict(set))
    vanished: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A row of `task`."""

    task_id: str
    number: int


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A row of `task_result`."""

    task_id: str
    attempt: int
    status: RunStatus
    retries_used: int
    output: bytes
    error: str


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One task's share of a row of `event_log`."""

    task_id: str
    kind: EventKind
    attempt: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The tables after everything has come to rest."""

    runs: list[StoredRun]
    results: list[StoredResult]
    events: list[StoredEvent]
    unfinished: dict[str, int]
    """Rows left in the tables that hold work in progress, by table."""


@dataclass(frozen=True, slots=True)
class History:
    """Everything the checker reads."""

    client: ClientLog
    effects: list[EffectLine]
    snapshot: Snapshot
