"""What goes into a frame, what is kept, and what is sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from treadle import Context, Treadle
from treadle.sdk.worker.execution import Execution
from treadle.sdk.worker.frames import frame_of as encode
from treadle.sdk.worker.ledger import Ledger
from treadle.sdk.worker.pipe import pack_news, read_news
from treadle.wire.gen.treadle.v1 import worker_pb2

if TYPE_CHECKING:
    from treadle.sdk.task import FunctionTask


class Wakes:
    """Counts the ledger's wishes to be sent."""

    def __init__(self) -> None:
        self.now = 0
        self.later = 0

    def wake(self) -> None:
        self.now += 1

    def wake_later(self) -> None:
        self.later += 1


@pytest.fixture
def wakes() -> Wakes:
    return Wakes()


@pytest.fixture
def ledger(wakes: Wakes) -> Ledger[Execution]:
    return Ledger(wakes.wake, wakes.wake_later, 10_000)


def make_task() -> FunctionTask[..., Any, ..., Any]:
    app = Treadle("token", "127.0.0.1:1")

    @app.task
    def job() -> None: ...

    return job


TASK = make_task()


def execution(number: int) -> Execution:
    made = Execution((f"task-{number}", 1), TASK, Context.fake(), b"{}", None)
    made.started_us = 5
    return made


def done(number: int, output: bytes = b"null") -> worker_pb2.Completion:
    return worker_pb2.Completion(task_id=f"task-{number}", attempt=1, output=output, started_at_us=5)


def line(number: int, text: str = "x") -> worker_pb2.LogLine:
    return worker_pb2.LogLine(task_id=f"task-{number}", attempt=1, message=text)


def frame_of(ledger: Ledger[Execution]) -> worker_pb2.WorkerFrame:
    frame = next_frame(ledger)
    assert frame is not None
    return frame


def next_frame(ledger: Ledger[Execution]) -> worker_pb2.WorkerFrame | None:
    news = ledger.news()
    return None if news is None else worker_pb2.WorkerFrame.FromString(encode(news))


def test_a_quick_task_costs_one_entry(ledger: Ledger[Execution], wakes: Wakes) -> None:
    one = execution(1)
    assert ledger.take([one])
    ledger.started(one)
    assert (wakes.now, wakes.later) == (0, 1)
    assert next_frame(ledger) is None
    ledger.report(one, done(1))
    assert wakes.now == 1
    frame = frame_of(ledger)
    assert (len(frame.received), len(frame.started), len(frame.completed)) == (0, 0, 1)
    ledger.is_due()
    assert next_frame(ledger) is None


def test_a_longer_task_is_told_of_once_it_is_due(ledger: Ledger[Execution], wakes: Wakes) -> None:
    one = execution(1)
    ledger.take([one])
    ledger.started(one)
    ledger.is_due()
    assert wakes.now == 1
    frame = frame_of(ledger)
    assert [entry.task_id for entry in frame.received] == ["task-1"]
    assert [(entry.task_id, entry.started_at_us) for entry in frame.started] == [("task-1", 5)]
    two = execution(2)
    ledger.take([two])
    assert wakes.later == 2


def test_a_thousand_reports_wake_once(ledger: Ledger[Execution], wakes: Wakes) -> None:
    for number in range(1000):
        one = execution(number)
        ledger.take([one])
        ledger.report(one, done(number))
    assert wakes.now == 1


def test_reports_are_kept_until_settled(ledger: Ledger[Execution]) -> None:
    one = execution(1)
    ledger.take([one])
    ledger.report(one, done(1))
    frame_of(ledger)
    assert not ledger.clean
    assert [entry.task_id for entry in ledger.resume()] == ["task-1"]
    assert len(frame_of(ledger).completed) == 1
    ledger.settle([worker_pb2.Attempt(task_id="task-1", attempt=1)])
    assert ledger.clean
    assert ledger.resume() == []
    assert next_frame(ledger) is None


def test_what_runs_is_told_of_again_after_a_break(ledger: Ledger[Execution]) -> None:
    one = execution(1)
    ledger.take([one])
    ledger.started(one)
    ledger.is_due()
    frame_of(ledger)
    assert [entry.task_id for entry in ledger.resume()] == ["task-1"]
    assert [entry.task_id for entry in frame_of(ledger).started] == ["task-1"]


def test_duplicates_are_acknowledged_but_not_taken(ledger: Ledger[Execution]) -> None:
    one = execution(1)
    assert ledger.take([one])
    assert not ledger.take([execution(1)])
    ledger.report(one, done(1))
    assert not ledger.take([execution(1)])


def test_log_lines_go_before_the_report_even_over_several_frames(ledger: Ledger[Execution]) -> None:
    one = execution(1)
    ledger.take([one])
    for _ in range(5):
        ledger.log(line(1, "x" * 1000))
    ledger.report(one, done(1))
    kinds: list[str] = []
    while (frame := next_frame(ledger)) is not None:
        kinds += ["log"] * len(frame.logs) + ["done"] * len(frame.completed)
        assert frame.ByteSize() < ledger.max_bytes
    assert kinds == ["log"] * 5 + ["done"]


def test_frames_stay_below_the_limit(ledger: Ledger[Execution]) -> None:
    for number in range(10):
        one = execution(number)
        ledger.take([one])
        ledger.report(one, done(number, b"x" * 3000))
    sizes = []
    while (frame := next_frame(ledger)) is not None:
        sizes.append(len(frame.completed))
        assert frame.ByteSize() < ledger.max_bytes
    assert sum(sizes) == 10


def test_a_large_report_travels_alone(ledger: Ledger[Execution]) -> None:
    for number in (1, 2):
        ledger.take([execution(number)])
    one = execution(3)
    ledger.take([one])
    ledger.report(one, done(3, b"x" * 9_890))
    ledger.is_due()
    first, second = frame_of(ledger), frame_of(ledger)
    assert (len(first.received), len(first.completed)) == (2, 0)
    assert (len(second.received), len(second.completed)) == (0, 1)
    assert second.ByteSize() < ledger.max_bytes


def test_too_many_log_lines_drop_the_oldest_and_say_so(
    ledger: Ledger[Execution], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.sdk.worker.ledger._MOST_LOG_LINES", 3)
    for number in range(5):
        ledger.log(line(number, f"line {number}"))
    texts = [entry.message for entry in frame_of(ledger).logs]
    assert texts[0].startswith("line 2 [2 earlier lines of this worker were lost")
    assert texts[1:] == ["line 3", "line 4"]


def test_cancels(ledger: Ledger[Execution]) -> None:
    one, two = execution(1), execution(2)
    ledger.take([one])
    ledger.take([two])
    assert ledger.to_cancel(one.key, "superseded") is one
    assert one.context.cancel_reason == "superseded"
    ledger.stopped(one)
    ledger.report(two, done(2))
    # A report is on its way and frees the slot; "stopped" on top would free another one.
    assert ledger.to_cancel(two.key, "cancelled") is None
    assert ledger.to_cancel(("gone", 3), "cancelled") is None
    assert [entry.task_id for entry in frame_of(ledger).stopped] == ["task-1", "gone"]


def test_code_that_cleans_up_is_interrupted_once(ledger: Ledger[Execution]) -> None:
    one = execution(1)
    ledger.take([one])
    assert ledger.to_cancel(one.key, "cancelled") is one
    assert ledger.to_cancel(one.key, "superseded") is None
    assert one.context.cancel_reason == "cancelled"


def test_heartbeats_name_what_runs_and_is_to_run_on(ledger: Ledger[Execution]) -> None:
    for number in (1, 2):
        ledger.take([execution(number)])
    ledger.to_cancel(("task-1", 1), "cancelled")
    ledger.saw_canary(7)
    frame = frame_of(ledger)
    assert frame.heartbeat.canary == 7
    assert [entry.task_id for entry in frame.heartbeat.running] == ["task-2"]


def test_what_a_dead_process_ran_is_lost_unless_it_was_over(ledger: Ledger[Execution]) -> None:
    one, two, three = execution(1), execution(2), execution(3)
    ledger.take([one, two, three])
    ledger.to_cancel(one.key, "cancelled")
    ledger.report(three, done(3))
    assert ledger.lose([one, two, three]) == 2
    frame = frame_of(ledger)
    assert [entry.task_id for entry in frame.lost] == ["task-2"]
    assert [entry.task_id for entry in frame.stopped] == ["task-1"]
    assert [entry.task_id for entry in frame.completed] == ["task-3"]
    assert ledger.idle


def test_the_news_of_a_child_become_those_of_its_parent(ledger: Ledger[Execution]) -> None:
    child: Ledger[Execution] = Ledger(lambda: None, lambda: None, 10_000, keeps=False)
    for number in range(1, 6):
        ledger.take([execution(number)])
        child.take([execution(number)])
    ledger.is_due()
    assert len(frame_of(ledger).received) == 5
    of = {number: child.executions()[number - 1] for number in range(1, 6)}
    child.log(line(1))
    child.report(of[1], done(1))
    child.refuse(worker_pb2.Failure(task_id="task-2", attempt=1, error="x" * 200))
    child.hand_back(of[3])
    child.stopped(of[4])
    child.is_due()
    news = child.news()
    assert news is not None
    assert news.received == []
    assert child.clean  # the parent keeps what it was told
    assert ledger.merge(read_news(pack_news(news)[5:])) == 4
    ledger.is_due()
    frame = frame_of(ledger)
    assert [entry.message for entry in frame.logs] == ["x"]
    assert frame.completed[0] == done(1)
    assert frame.failed[0].error == "x" * 200
    assert [entry.task_id for entry in frame.handed_back] == ["task-3"]
    assert [entry.task_id for entry in frame.stopped] == ["task-4"]
    assert [(entry.task_id, entry.started_at_us) for entry in frame.started] == [("task-5", 5)]
    assert [entry.task_id for entry in ledger.resume()] == ["task-5", "task-1", "task-2"]
    assert ledger.merge(news) == 0  # what has left stays away


def test_draining_sends_back_what_still_comes(ledger: Ledger[Execution]) -> None:
    one = execution(1)
    ledger.take([one])
    ledger.drain()
    assert not ledger.take([execution(2)])
    ledger.hand_back(one)
    ledger.report(one, done(1))  # too late
    frame = frame_of(ledger)
    assert frame.draining
    assert [entry.task_id for entry in frame.handed_back] == ["task-2", "task-1"]
    assert not frame.completed
    assert ledger.idle
    assert ledger.clean
