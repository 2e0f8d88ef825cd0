"""Complete: an attempt has succeeded, and with it its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.finish import end_running, leave
from treadle.model.states import RunStatus

if TYPE_CHECKING:
    from treadle.engine.attempt import Attempt
    from treadle.engine.batch import Batch
    from treadle.engine.running import Running


def complete(attempt: Attempt, output: bytes | None, started_at: float | None, running: Running, batch: Batch) -> None:
    """End the run with its output.

    Args:
        attempt: the current attempt.
        output: JSON, or None for no output.
        started_at: when the worker began it, if it had not said so before.
        running: the running attempts.
        batch: the commit.
    """
    if attempt.started_at is None and started_at is not None:
        attempt.started_at = min(max(started_at, attempt.assigned_at), batch.now)
    leave(attempt, running, batch)
    end_running(attempt, RunStatus.COMPLETED, batch, output=output)
