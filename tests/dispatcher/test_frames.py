"""Frames of a session: everything since the last one goes into the next, and none is too large."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.scheduler.plain import attempt, kind
from tests.support.eventually import eventually
from treadle.dispatcher.frames import SessionLink, report_from_frame
from treadle.engine.attempt import Attempt
from treadle.engine.commands import Stale
from treadle.engine.ports import StopReason
from treadle.model.errors import Unavailable
from treadle.model.ids import new_id
from treadle.wire.gen.treadle.v1 import worker_pb2


class Stream:
    """Keeps what is written; while `held`, the worker does not read."""

    def __init__(self) -> None:
        self.frames: list[worker_pb2.EngineFrame] = []
        self.reading = asyncio.Event()
        self.reading.set()

    async def write(self, message: worker_pb2.EngineFrame) -> None:
        await self.reading.wait()
        self.frames.append(message)


class Session:
    """A link with somebody at the other end."""

    def __init__(self, max_bytes: int = 1_000_000) -> None:
        self.link = SessionLink(new_id(), 1, queue_ids=[1], capacity={"default": 9}, max_bytes=max_bytes)
        self.stream = Stream()
        self.writing = asyncio.create_task(self.link.write_to(self.stream))

    async def frames(self, count: int) -> list[worker_pb2.EngineFrame]:
        """The first frames, once there are so many."""

        def arrived() -> None:
            assert len(self.stream.frames) >= count

        await eventually(arrived)
        return self.stream.frames

    async def end(self) -> None:
        self.link.close()
        await asyncio.wait_for(self.writing, 5)


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    session = Session()
    yield session
    await session.end()


def sized(size: int) -> Attempt:
    item = attempt(kind(), 0)
    item.input = b'"' + b"x" * (size - 2) + b'"'
    return item


async def test_what_gathers_while_a_frame_is_written_goes_into_the_next(session: Session) -> None:
    session.stream.reading.clear()
    first, second, third = (sized(100) for _ in range(3))
    session.link.deliver([first])
    await asyncio.sleep(0)
    session.link.deliver([second])
    session.link.stop(first.task_id, 1, StopReason.CANCELLED)
    session.link.deliver([third])
    session.link.canary(7)
    session.stream.reading.set()
    frames = await session.frames(2)
    assert [[each.task_id for each in frame.deliveries] for frame in frames] == [
        [first.task_id],
        [second.task_id, third.task_id],
    ]
    assert [(cancel.task_id, cancel.attempt) for cancel in frames[1].cancels] == [(first.task_id, 1)]
    assert frames[1].cancels[0].reason == worker_pb2.CANCEL_REASON_CANCELLED
    assert frames[1].canary == 7


async def test_large_deliveries_are_spread_over_frames_in_order() -> None:
    session = Session(max_bytes=1_000_000)
    items = [sized(300_000) for _ in range(8)]
    session.link.deliver(items)
    await session.end()
    frames = session.stream.frames
    assert all(frame.ByteSize() <= 1_000_000 for frame in frames)
    assert [each.task_id for frame in frames for each in frame.deliveries] == [item.task_id for item in items]


async def test_settled_reports_and_stale_ones_are_named(session: Session) -> None:
    done, old = new_id(), new_id()
    session.link.answer([(done, 1), (old, 1)], [Stale(old, 1, StopReason.SUPERSEDED)], None)
    [frame] = await session.frames(1)
    assert [(each.task_id, each.attempt) for each in frame.settled] == [(done, 1), (old, 1)]
    assert [each.task_id for each in frame.cancels] == [old]


async def test_reports_that_could_not_be_stored_end_the_stream_and_stay_with_the_worker(session: Session) -> None:
    session.link.answer([], [], Unavailable("engine", "is stopping"))
    await asyncio.wait_for(session.writing, 5)
    assert all(not frame.settled for frame in session.stream.frames)


async def test_what_was_said_before_the_close_is_sent() -> None:
    session = Session()
    item = sized(100)
    session.link.deliver([item])
    session.link.goodbye()
    await session.end()
    sent = session.stream.frames
    assert [each.task_id for frame in sent for each in frame.deliveries] == [item.task_id]
    assert any(frame.goodbye for frame in sent)


def link() -> SessionLink:
    return SessionLink(new_id(), 1, queue_ids=[1], capacity={"default": 9}, max_bytes=1_000_000)


def test_a_frame_without_reports_is_none() -> None:
    assert report_from_frame(worker_pb2.WorkerFrame(), link()) is None
    assert report_from_frame(worker_pb2.WorkerFrame(heartbeat=worker_pb2.Heartbeat(canary=1)), link()) is None


def test_an_output_that_is_no_json_fails_its_attempt_and_no_other() -> None:
    good, bad = new_id(), new_id()
    frame = worker_pb2.WorkerFrame(
        completed=[
            worker_pb2.Completion(task_id=good, attempt=1, output=b"[1]"),
            worker_pb2.Completion(task_id=bad, attempt=1, output=b"[1"),
        ]
    )
    report = report_from_frame(frame, link())
    assert report is not None
    assert [entry.task_id for entry in report.completed] == [good]
    assert [(entry.task_id, entry.should_not_retry) for entry in report.failed] == [(bad, False)]
    assert "InvalidOutput" in report.failed[0].error


def test_an_attempt_without_a_number_is_nobodys() -> None:
    task_id = new_id()
    frame = worker_pb2.WorkerFrame(failed=[worker_pb2.Failure(task_id=task_id, error="x\0y")])
    report = report_from_frame(frame, link())
    assert report is not None
    assert report.failed[0].attempt < 0
    assert "\0" not in report.failed[0].error


def test_a_log_line_that_cannot_be_kept_whole_is_kept_as_far_as_it_goes() -> None:
    task_id = new_id()
    lines = [
        worker_pb2.LogLine(task_id=task_id, attempt=1, level="warn", message="a" * 20_000, metadata="no json"),
        worker_pb2.LogLine(task_id="nobody", attempt=1, message="lost"),
    ]
    report = report_from_frame(worker_pb2.WorkerFrame(logs=lines), link())
    assert report is not None
    [line] = report.logs
    assert (line.level, len(line.message), line.metadata) == ("WARN", 10_000, None)
