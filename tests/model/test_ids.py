import os
import threading
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.model import ids
from treadle.model.ids import canonical_id, id_at, is_id, new_id, new_id_at, step_id, time_of


def test_new_ids_are_version_7_and_canonical() -> None:
    for _ in range(1000):
        made = uuid.UUID(new_id())
        assert made.version == 7
        assert made.variant == uuid.RFC_4122
        assert is_id(str(made))


def test_new_ids_sort_in_the_order_they_are_made() -> None:
    made = [new_id() for _ in range(50_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_go_on_growing_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000)
    after = [new_id() for _ in range(100)]
    assert [before, *after] == sorted([before, *after])


def test_a_full_counter_moves_on_to_the_next_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ids._Source()
    monkeypatch.setattr(ids, "_source", source)
    monkeypatch.setattr(time, "time_ns", lambda: 5_000_000)
    first = new_id()
    source.counter = (1 << 26) - 1
    second = new_id()
    assert first < second
    assert time_of(second) == 0.006


def test_threads_never_get_the_same_id() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def work(into: list[str]) -> None:
        into.extend(new_id() for _ in range(5000))

    threads = [threading.Thread(target=work, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each == sorted(each) for each in made)
    assert len({one for each in made for one in each}) == 20_000


def test_a_restarted_source_does_not_repeat_its_random_bits() -> None:
    source = ids._Source()
    first = source.bits(64)
    source.start()  # what a forked child does
    assert source.bits(64) != first
    assert hasattr(os, "register_at_fork")


@given(st.uuids())
def test_every_spelling_of_a_uuid_is_brought_into_one_form(value: uuid.UUID) -> None:
    plain = str(value)
    spellings = (plain, plain.upper(), value.hex, f"{{{plain}}}", value.urn, f"urn:uuid:{plain.upper()}")
    assert {canonical_id(text) for text in spellings} == {plain}
    assert is_id(plain)


@pytest.mark.parametrize(
    "text", ["", "x", "0" * 31, "0" * 33, "g" * 32, "00000000-0000-0000-0000-00000000000\n", "\uff10" * 32]
)
def test_what_is_no_uuid_is_none(text: str) -> None:
    assert canonical_id(text) is None
    assert not is_id(text)


def test_only_the_canonical_form_counts_inside() -> None:
    made = new_id()
    assert not is_id(made.upper() if made != made.upper() else made.replace("-", ""))
    assert not is_id(made.replace("-", ""))
    assert not is_id(f"{made}\n")


@given(st.integers(0, 2**43))  # up to the year 2248
def test_the_time_of_an_id_is_its_millisecond(ms: int) -> None:
    bound = id_at(ms / 1000)
    assert is_id(bound)
    assert uuid.UUID(bound).version == 7
    assert round(time_of(bound) * 1000) == ms


def test_a_bound_sorts_before_the_ids_of_its_millisecond_and_after_those_before() -> None:
    made = new_id()
    moment = time_of(made)
    assert id_at(moment) <= made < id_at(moment + 0.001)
    assert id_at(-5) == id_at(0)


def test_the_ids_of_a_runs_tasks_follow_from_its_own() -> None:
    run_id = new_id()
    ids = [step_id(run_id, step) for step in range(2000)]
    assert len({run_id, *ids}) == 2001
    assert ids == [step_id(run_id, step) for step in range(2000)]
    for each in ids:
        assert is_id(each)
        assert each[14] == "7"
        assert each[19] in "89ab"
        assert time_of(each) == time_of(run_id)


def test_the_ids_of_the_tasks_of_neighbouring_runs_do_not_meet() -> None:
    runs = [new_id() for _ in range(300)]
    assert len({step_id(run, step) for run in runs for step in range(-1, 60)} | set(runs)) == 300 * 61


def test_ids_of_a_moment_have_its_time_and_sort_by_it() -> None:
    start = 1_700_000_000.123_456
    moments = [start + n / 1_000_000 for n in range(2000)]
    made = [new_id_at(moment) for moment in moments]
    assert made == sorted(made)
    for moment, each in zip(moments, made, strict=True):
        assert is_id(each)
        assert uuid.UUID(each).version == 7
        assert uuid.UUID(each).variant == uuid.RFC_4122
        assert id_at(moment) <= each < id_at(moment + 0.001)


def test_ids_of_one_moment_sort_in_the_order_they_are_made() -> None:
    moment = 1_800_000_000.5
    made = [new_id_at(moment) for _ in range(70_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    # More than a microsecond holds: they run on into the following ones, and so does whatever comes next.
    assert made[-1] < new_id_at(moment)
    assert made[-1] < new_id_at(moment + 0.000_001)
    assert time_of(made[-1]) == moment


def test_a_moment_long_ago_gets_an_id_of_its_own_time() -> None:
    new_id_at(2_000_000_000)
    assert time_of(new_id_at(1_000_000_000)) == 1_000_000_000


def test_ids_of_a_moment_are_unlike_those_of_another_process() -> None:
    assert ids._source.bits(48) != ids._source.bits(48)
    first = new_id_at(1_500_000_000)
    ids._source.last = 0
    assert new_id_at(1_500_000_000)[:23] == first[:23]
    ids._source.last = 0
    assert new_id_at(1_500_000_000) != first
