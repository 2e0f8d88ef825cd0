"""Small translations between messages and the model: times and statuses.

Times are whole microseconds since the epoch, in UTC: an int, exact, and what Postgres keeps.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from google.protobuf import timestamp_pb2

from treadle.model.errors import InvalidInput
from treadle.model.states import RunStatus
from treadle.wire.gen.hatchet._pool import Timestamp as HatchetTimestamp
from treadle.wire.gen.hatchet.v1 import workflows_pb2
from treadle.wire.gen.treadle.v1 import runs_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST_US = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST_US = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND

PARENT_RUN = "hatchet__parent_workflow_run_id"
"""The key of a child's metadata that names the run of its parent."""

HATCHET_STATUS: dict[RunStatus, workflows_pb2.RunStatus.ValueType] = {
    RunStatus.QUEUED: workflows_pb2.QUEUED,
    RunStatus.RUNNING: workflows_pb2.RUNNING,
    RunStatus.COMPLETED: workflows_pb2.COMPLETED,
    RunStatus.FAILED: workflows_pb2.FAILED,
    RunStatus.CANCELLED: workflows_pb2.CANCELLED,
    # This contract has no word for it; the output says so.
    RunStatus.SKIPPED: workflows_pb2.COMPLETED,
}
TREADLE_STATUS: dict[RunStatus, runs_pb2.RunStatus.ValueType] = {
    RunStatus.QUEUED: runs_pb2.RUN_STATUS_QUEUED,
    RunStatus.RUNNING: runs_pb2.RUN_STATUS_RUNNING,
    RunStatus.COMPLETED: runs_pb2.RUN_STATUS_COMPLETED,
    RunStatus.FAILED: runs_pb2.RUN_STATUS_FAILED,
    RunStatus.CANCELLED: runs_pb2.RUN_STATUS_CANCELLED,
    RunStatus.SKIPPED: runs_pb2.RUN_STATUS_SKIPPED,
}
_FROM_TREADLE = {int(number): status for status, number in TREADLE_STATUS.items()}


def us_of(moment: datetime) -> int:
    """Microseconds since the epoch of a datetime that has a time zone."""
    return (moment - _EPOCH) // _MICROSECOND


def datetime_of(us: int) -> datetime:
    """The moment as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=us)


def hatchet_time(us: int) -> timestamp_pb2.Timestamp:
    """A timestamp for fields of the messages shared with other SDKs.

    Those live in a descriptor pool of their own and refuse the usual Timestamp class.
    """
    seconds, rest = divmod(us, 1_000_000)
    return HatchetTimestamp(seconds=seconds, nanos=rest * 1000)


def treadle_time(us: int) -> timestamp_pb2.Timestamp:
    """A timestamp for fields of ``treadle.v1`` messages."""
    seconds, rest = divmod(us, 1_000_000)
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=rest * 1000)


def time_us(stamp: timestamp_pb2.Timestamp, field: str = "") -> int:
    """Microseconds since the epoch of a timestamp of either kind.

    Raises:
        InvalidInput: It lies outside the years 1 to 9999.
    """
    us = stamp.seconds * 1_000_000 + stamp.nanos // 1000
    if not _FIRST_US <= us <= _LAST_US:
        raise InvalidInput(field, "is a time outside the years 1 to 9999")
    return us


def statuses_of(numbers: Iterable[int], field: str) -> frozenset[RunStatus]:
    """The statuses that numbers of ``treadle.v1.RunStatus`` stand for.

    Raises:
        InvalidInput: One of them is unspecified or unknown.
    """
    found: set[RunStatus] = set()
    for index, number in enumerate(numbers):
        status = _FROM_TREADLE.get(number)
        if status is None:
            raise InvalidInput(f"{field}[{index}]", f"{number} is not the number of a run status")
        found.add(status)
    return frozenset(found)


def statuses_named(names: Iterable[str], field: str) -> frozenset[RunStatus]:
    """The statuses that names such as ``QUEUED`` stand for.

    Raises:
        InvalidInput: One of them is unknown.
    """
    found: set[RunStatus] = set()
    for index, name in enumerate(names):
        try:
            found.add(RunStatus[name.upper()])
        except KeyError:
            known = ", ".join(status.name for status in RunStatus)
            raise InvalidInput(f"{field}[{index}]", f"{name!r} is not one of {known}") from None
    return frozenset(found)
