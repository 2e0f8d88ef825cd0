"""Deliveries that no message can hold: a task of a workflow run gets the outputs of all its parents at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.commands import Failed, Report

if TYPE_CHECKING:
    from treadle.engine.attempt import Attempt

# Room for what a message carries beside one delivery.
_ROOM = 8 * 1024


def too_large(attempt: Attempt, size: int, max_bytes: int, worker_id: str) -> Report | None:
    """The failure of an attempt whose delivery has `size` bytes; None when it fits into a message.

    Sent all the same it would break the worker's stream, again and again.
    """
    if size <= max_bytes - _ROOM:
        return None
    error = (
        f"DeliveryTooLarge: the input and the outputs of its parents have {size} bytes; "
        f"a message to a worker holds at most {max_bytes}"
    )
    return Report(
        attempt.kind.tenant_id,
        worker_id,
        lambda _settled, _stale, _error: None,
        failed=[Failed(attempt.task_id, attempt.attempt, error, True, None, None)],
    )
