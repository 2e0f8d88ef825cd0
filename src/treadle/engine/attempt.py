"""One attempt of a task run, as the engine holds it in memory while it is ready or running."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treadle.engine.catalog import TaskKind
    from treadle.storage.rows import TaskColumns

# Retries and handed-back work stand before first attempts of the same priority, in order among themselves.
RETRY_POSITIONS = -(1 << 62)


class Attempt:
    """A ready or running attempt.

    A plain mutable object rather than one type per state: tens of thousands pass through each second. The tables are
    the truth; after a failed commit all of these are thrown away and loaded anew.
    """

    __slots__ = (
        "assigned_at",
        "attempt",
        "child_index",
        "child_key",
        "created_at",
        "delivered",
        "errors",
        "expires_at",
        "gone",
        "holds_slot",
        "input",
        "kind",
        "metadata",
        "parent_id",
        "parents",
        "position",
        "priority",
        "rank",
        "reassigned",
        "retries_used",
        "returning",
        "run_id",
        "started_at",
        "stored",
        "task_id",
        "timeout_at",
        "triggers",
        "worker_id",
    )

    def __init__(
        self,
        *,
        kind: TaskKind,
        task_id: str,
        attempt: int,
        priority: int,
        input: bytes | None,  # noqa: A002 - the field's word for it
        metadata: str | None,
        parent_id: str | None,
        child_index: int | None,
        child_key: str | None,
        created_at: float,
        retries_used: int = 0,
        reassigned: int = 0,
        run_id: str | None = None,
        triggers: str | None = None,
    ) -> None:
        self.kind = kind
        self.task_id = task_id
        self.attempt = attempt
        self.priority = priority
        self.rank = -priority
        self.input = input
        self.metadata = metadata
        self.parent_id = parent_id
        self.child_index = child_index
        self.child_key = child_key
        self.created_at = created_at
        self.retries_used = retries_used
        self.reassigned = reassigned
        self.position = 0
        self.expires_at = 0.0
        # Whether a queue_item row exists for it, and whether it was taken away while it stood in the window.
        self.stored = False
        # Whether it has run before and takes its place before first attempts.
        self.returning = False
        self.gone = False
        self.worker_id = ""
        self.assigned_at = 0.0
        self.timeout_at = 0.0
        self.started_at: float | None = None
        self.holds_slot = False
        # Whether it was handed to its worker's stream by this engine.
        self.delivered = False
        # Of a task within a workflow run: the run, what met its conditions (JSON), and, from assignment to delivery, the
        # outputs of its parents (JSON) and the errors that a failure handler is told of, by task name.
        self.run_id = run_id
        self.triggers = triggers
        self.parents: Mapping[str, bytes] | None = None
        self.errors: Mapping[str, str] | None = None

    @property
    def workflow_run_id(self) -> str:
        """The run that it is part of: its own, unless it is a task within a workflow run."""
        return self.run_id or self.task_id

    def again(self, *, retries_used: int, reassigned: int) -> Attempt:
        """The attempt after this one, not yet queued."""
        following = Attempt(
            kind=self.kind,
            task_id=self.task_id,
            attempt=self.attempt + 1,
            priority=self.priority,
            input=self.input,
            metadata=self.metadata,
            parent_id=self.parent_id,
            child_index=self.child_index,
            child_key=self.child_key,
            created_at=self.created_at,
            retries_used=retries_used,
            reassigned=reassigned,
            run_id=self.run_id,
            triggers=self.triggers,
        )
        following.returning = True
        return following


def attempt_from_columns(
    kind: TaskKind,
    *,
    task_id: str,
    attempt: int,
    columns: TaskColumns,
    retries_used: int = 0,
    reassigned: int = 0,
) -> Attempt:
    """An attempt from stored columns."""
    return Attempt(
        kind=kind,
        task_id=task_id,
        attempt=attempt,
        priority=columns.priority,
        input=columns.input,
        metadata=columns.metadata,
        parent_id=columns.parent_id,
        child_index=columns.child_index,
        child_key=columns.child_key,
        created_at=columns.created_at.timestamp(),
        retries_used=retries_used,
        reassigned=reassigned,
        run_id=columns.run_id,
        triggers=columns.triggers,
    )
