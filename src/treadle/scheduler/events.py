"""What the scheduler's core is told, and what it answers: plain data, many items in each, because many come at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from treadle.engine.attempt import Attempt

Need: TypeAlias = tuple[tuple[str, int], ...]
"""Units wanted by slot type."""

Key: TypeAlias = tuple[int, int]
"""Place of an item in its queue: rank and position, the smallest first."""


class Queued:
    """Attempts are ready and have their places."""

    __slots__ = ("items",)

    def __init__(self, items: Iterable[Attempt]) -> None:
        self.items = items


class Released:
    """Units have come free at workers: an attempt has ended, or has given back its slots."""

    __slots__ = ("entries",)

    def __init__(self, entries: Iterable[tuple[str, Need]]) -> None:
        self.entries = entries


class Discarded:
    """Queued attempts were cancelled, or have waited too long. Ids that wait in no window are fine."""

    __slots__ = ("task_ids",)

    def __init__(self, task_ids: Iterable[str]) -> None:
        self.task_ids = task_ids


class Found:
    """A queue has rows in the table of which none has been read."""

    __slots__ = ("queue_id", "tenant_id")

    def __init__(self, queue_id: int, tenant_id: int) -> None:
        self.queue_id = queue_id
        self.tenant_id = tenant_id


class Refilled:
    """The answer to a `Refill`: what the table holds next; `complete` when there is nothing beyond."""

    __slots__ = ("complete", "items", "queue_id")

    def __init__(self, queue_id: int, items: Iterable[Attempt], *, complete: bool) -> None:
        self.queue_id = queue_id
        self.items = items
        self.complete = complete


class Joined:
    """A worker serves these queues with this many units by slot type, less those occupied by what it runs.

    It replaces what was known of that worker. It gets nothing before it is `Available`.
    """

    __slots__ = ("capacity", "occupied", "queue_ids", "tenant_id", "worker_id")

    def __init__(
        self,
        worker_id: str,
        *,
        tenant_id: int,
        queue_ids: Sequence[int],
        capacity: Mapping[str, int],
        occupied: Iterable[Need] = (),
    ) -> None:
        self.worker_id = worker_id
        self.tenant_id = tenant_id
        self.queue_ids = queue_ids
        self.capacity = capacity
        self.occupied = occupied


class Left:
    """A worker has gone."""

    __slots__ = ("worker_id",)

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id


class Available:
    """A worker may be given work from now on, or not any more."""

    __slots__ = ("available", "worker_id")

    def __init__(self, worker_id: str, *, available: bool) -> None:
        self.worker_id = worker_id
        self.available = available


class Tick:
    """All that is known has been told: choose, at most this many."""

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        self.limit = limit


Event: TypeAlias = Queued | Released | Discarded | Found | Refilled | Joined | Left | Available | Tick


class Assign:
    """This attempt is given to this worker."""

    __slots__ = ("at", "item", "worker_id")

    def __init__(self, item: Attempt, worker_id: str, at: float) -> None:
        self.item = item
        self.worker_id = worker_id
        self.at = at


class Refill:
    """The next rows of this queue, after this place, are to be read and told as `Refilled`."""

    __slots__ = ("after", "limit", "queue_id", "tenant_id")

    def __init__(self, queue_id: int, tenant_id: int, *, after: Key, limit: int) -> None:
        self.queue_id = queue_id
        self.tenant_id = tenant_id
        self.after = after
        self.limit = limit
