"""Stand-ins for whom the loop talks to: they record."""

from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from treadle.engine.attempt import Attempt
from treadle.engine.catalog import TaskKind
from treadle.engine.commands import AttemptKey
from treadle.engine.ports import Ended, Happening, StopReason


class Delivered(NamedTuple):
    """An attempt as a worker got it."""

    task_id: str
    attempt: int
    input: bytes | None
    priority: int
    retries_used: int
    name: str = ""
    run_id: str | None = None
    parents: Mapping[str, bytes] | None = None
    errors: Mapping[str, str] | None = None
    triggers: str | None = None


class FakeWorker:
    """A connected worker that runs nothing and forgets nothing."""

    def __init__(self, worker_id: str, tenant_id: int, kinds: Sequence[TaskKind], slots: Mapping[str, int]) -> None:
        self.worker_id = worker_id
        self.tenant_id = tenant_id
        self.queue_ids = [kind.queue_id for kind in kinds]
        self.slots = dict(slots)
        self.got: list[Delivered] = []
        self.stops: list[tuple[str, int, StopReason]] = []
        self.closed = False

    def deliver(self, attempts: Sequence[Attempt]) -> None:
        self.got += [
            Delivered(
                a.task_id,
                a.attempt,
                a.input,
                a.priority,
                a.retries_used,
                a.kind.definition.readable_id,
                a.run_id,
                a.parents,
                a.errors,
                a.triggers,
            )
            for a in attempts
        ]

    def stop(self, task_id: str, attempt: int, reason: StopReason) -> None:
        self.stops.append((task_id, attempt, reason))

    def close(self) -> None:
        self.closed = True

    @property
    def keys(self) -> list[AttemptKey]:
        """What it got, in order."""
        return [(item.task_id, item.attempt) for item in self.got]

    def take(self) -> list[AttemptKey]:
        """What it got since the last call."""
        keys = self.keys
        self.got.clear()
        return keys


class RecordingAudience:
    """Hears of everything."""

    def __init__(self) -> None:
        self.ended: list[Ended] = []
        self.happened: list[Happening] = []
        self.follows: set[str] = set()
        self.looked_again = 0

    def tell_ended(self, ended: Sequence[Ended]) -> None:
        self.ended += ended

    @property
    def followed(self) -> Container[str]:
        return self.follows

    def tell_happened(self, happenings: Sequence[Happening]) -> None:
        self.happened += happenings

    def look_again(self) -> None:
        self.looked_again += 1
