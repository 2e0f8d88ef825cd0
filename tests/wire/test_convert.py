from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf import timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st

from treadle.model.errors import InvalidInput
from treadle.model.states import RunStatus
from treadle.wire import convert
from treadle.wire.gen.hatchet import events_pb2
from treadle.wire.gen.hatchet.v1 import workflows_pb2
from treadle.wire.gen.treadle.v1 import runs_pb2

_moments = st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=5, minutes=30))))


@given(_moments)
def test_a_moment_survives_all_its_forms(moment: datetime) -> None:
    us = convert.us_of(moment)
    assert convert.datetime_of(us) == moment
    assert convert.time_us(convert.treadle_time(us)) == us
    assert convert.treadle_time(us).ToDatetime(UTC) == moment
    event = events_pb2.Event(event_timestamp=convert.hatchet_time(us))
    assert convert.time_us(event.event_timestamp) == us
    assert event.event_timestamp.ToDatetime(UTC) == moment


@pytest.mark.parametrize("seconds", [-(10**12), 10**12, 2**62, -(2**62)])
def test_a_time_beyond_the_calendar_is_refused_by_field(seconds: int) -> None:
    with pytest.raises(InvalidInput, match=r"^since: "):
        convert.time_us(timestamp_pb2.Timestamp(seconds=seconds), "since")


def test_statuses_have_the_same_names_in_both_contracts() -> None:
    for status in RunStatus:
        shown = RunStatus.COMPLETED if status is RunStatus.SKIPPED else status
        assert workflows_pb2.RunStatus.Name(convert.HATCHET_STATUS[status]) == shown.name
        assert runs_pb2.RunStatus.Name(convert.TREADLE_STATUS[status]) == f"RUN_STATUS_{status.name}"


def test_statuses_are_read_from_numbers_and_names() -> None:
    assert convert.statuses_of([1, 5, 1], "f") == {RunStatus.QUEUED, RunStatus.CANCELLED}
    assert convert.statuses_named(["failed", "QUEUED"], "f") == {RunStatus.FAILED, RunStatus.QUEUED}
    assert convert.statuses_of([], "f") == frozenset()


@pytest.mark.parametrize("number", [0, 7, -1])
def test_unknown_status_numbers_are_refused(number: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        convert.statuses_of([1, number], "filter.statuses")
    assert caught.value.field == "filter.statuses[1]"


def test_unknown_status_names_are_refused() -> None:
    with pytest.raises(InvalidInput, match="'EVICTED' is not one of QUEUED, RUNNING"):
        convert.statuses_named(["EVICTED"], "filter.statuses")
