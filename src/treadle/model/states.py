"""The states of a run and the kinds of events in its history."""

from __future__ import annotations

from enum import IntEnum


class RunStatus(IntEnum):
    """Where a run is. The numbers are stored: never renumber."""

    QUEUED = 1
    RUNNING = 2
    COMPLETED = 3
    FAILED = 4
    CANCELLED = 5
    # Of a task within a workflow run only. Told as COMPLETED with the output {"skipped": true} where nobody knows better.
    SKIPPED = 6


TERMINAL: frozenset[RunStatus] = frozenset(
    {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.SKIPPED}
)
"""A run in one of these changes no more, unless someone replays it."""

SKIPPED_OUTPUT = b'{"skipped": true}'
"""What a skipped task gives to those that read its output."""


class EventKind(IntEnum):
    """What happened to a run. The numbers are stored: never renumber, only append."""

    CREATED = 1
    QUEUED = 2
    ASSIGNED = 3
    SENT = 4
    STARTED = 5
    COMPLETED = 6
    FAILED = 7
    RETRYING = 8
    CANCELLED = 9
    TIMED_OUT = 10
    SCHEDULING_TIMED_OUT = 11
    REASSIGNED = 12
    HANDED_BACK = 13
    REPLAYED = 14
    SLOT_RELEASED = 15
    TIMEOUT_REFRESHED = 16
    SKIPPED = 17
    # The task waits for sleeps or events; its parents have ended.
    WAITING = 18
    CONDITION_MET = 19
    # An expression could not be evaluated: it counts as false.
    EXPRESSION_FAILED = 20
