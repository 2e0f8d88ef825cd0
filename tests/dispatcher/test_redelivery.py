"""Deliveries that a worker never got, and attempts that it runs although they have gone elsewhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from treadle.dispatcher.frames import SessionLink, hear, report_from_frame
from treadle.dispatcher.session import Sessions
from treadle.engine.attempt import Attempt
from treadle.engine.catalog import TaskKind
from treadle.engine.commands import Report
from treadle.engine.inbox import Inbox
from treadle.engine.ports import StopReason
from treadle.engine.running import Running, RunningView
from treadle.model.definition import TaskDefinition, WorkflowDefinition
from treadle.model.ids import new_id
from treadle.runtime.clock import VirtualClock
from treadle.storage.register import VersionRow
from treadle.wire.gen.treadle.v1 import worker_pb2

AFTER = 5.0


class Wire:
    """What a link writes, frame by frame; `full` when the worker does not read."""

    def __init__(self, link: SessionLink) -> None:
        self._link = link
        self.full = False
        self.writing: asyncio.Task[None] | None = None

    async def frame(self) -> worker_pb2.EngineFrame:
        """The next frame; the link must have something to say."""
        frames: asyncio.Queue[worker_pb2.EngineFrame] = asyncio.Queue()
        full = self.full

        class Stream:
            async def write(self, message: Any) -> None:
                frames.put_nowait(message)
                if full:
                    await asyncio.Event().wait()

        self.writing = asyncio.create_task(self._link.write_to(Stream()))
        frame = await frames.get()
        if not full:
            self.writing.cancel()
        return frame


@pytest.fixture
def link() -> SessionLink:
    return SessionLink("worker", 1, queue_ids=[1], capacity={"default": 10}, max_bytes=4 * 1024 * 1024)


@pytest.fixture
def wire(link: SessionLink) -> Wire:
    return Wire(link)


def attempts(count: int, number: int = 1) -> list[Attempt]:
    task = TaskDefinition(readable_id="job", action="job:job")
    kind = TaskKind(VersionRow(1, 1, new_id(), new_id(), "", ""), WorkflowDefinition("job", (task,)), 0, 1)
    return [
        Attempt(
            kind=kind,
            task_id=new_id(),
            attempt=number,
            priority=1,
            input=b'{"n":1}',
            metadata=None,
            parent_id=None,
            child_index=None,
            child_key=None,
            created_at=0.0,
        )
        for _ in range(count)
    ]


def resend_now(link: SessionLink) -> int:
    """As if the time had passed."""
    return link.resend(now=float("inf"), after=AFTER)


async def test_what_is_not_acknowledged_is_sent_again_until_it_is(link: SessionLink, wire: Wire) -> None:
    first, second = attempts(2)
    link.deliver([first, second])
    sent = await wire.frame()
    first.input = None  # the engine forgets inputs once they are delivered
    hear(worker_pb2.WorkerFrame(received=[worker_pb2.Attempt(task_id=second.task_id, attempt=1)]), link)
    for _ in range(2):
        assert resend_now(link) == 1
        again = await wire.frame()
        assert list(again.deliveries) == [sent.deliveries[0]]
    hear(worker_pb2.WorkerFrame(received=[worker_pb2.Attempt(task_id=first.task_id, attempt=1)]), link)
    assert resend_now(link) == 0


async def test_nothing_is_sent_again_before_its_time(link: SessionLink) -> None:
    link.deliver(attempts(1))
    assert link.resend(now=0.0, after=AFTER) == 0


@pytest.mark.parametrize(
    "name", ["received", "started", "completed", "failed", "handed_back", "lost", "stopped", "heartbeat"]
)
async def test_any_word_about_an_attempt_acknowledges_it(link: SessionLink, name: str) -> None:
    [attempt] = attempts(1)
    link.deliver([attempt])
    frame = worker_pb2.WorkerFrame()
    entries = frame.heartbeat.running if name == "heartbeat" else getattr(frame, name)
    entries.add(task_id=attempt.task_id, attempt=1)
    hear(frame, link)
    assert resend_now(link) == 0


async def test_a_word_about_an_earlier_attempt_acknowledges_nothing(link: SessionLink) -> None:
    [attempt] = attempts(1, number=2)
    link.deliver([attempt])
    hear(worker_pb2.WorkerFrame(completed=[worker_pb2.Completion(task_id=attempt.task_id, attempt=1)]), link)
    link.stop(attempt.task_id, 1, StopReason.SUPERSEDED)
    assert resend_now(link) == 1


async def test_what_was_cancelled_is_not_sent_again(link: SessionLink) -> None:
    [attempt] = attempts(1)
    link.deliver([attempt])
    link.stop(attempt.task_id, 1, StopReason.CANCELLED)
    assert resend_now(link) == 0


async def test_a_worker_that_does_not_read_is_not_sent_more(link: SessionLink, wire: Wire) -> None:
    link.deliver(attempts(1))
    wire.full = True
    await wire.frame()
    assert resend_now(link) == 0
    assert wire.writing is not None
    wire.writing.cancel()


async def test_attempts_lost_with_a_process_are_reported_as_such(link: SessionLink) -> None:
    task_id = new_id()
    frame = worker_pb2.WorkerFrame(lost=[worker_pb2.Attempt(task_id=task_id, attempt=3)])
    report = report_from_frame(frame, link)
    assert report is not None
    assert list(report.lost) == [(task_id, 3)]
    assert report.size == 1


async def test_what_a_worker_runs_in_vain_is_looked_at_by_the_loop(link: SessionLink) -> None:
    """Only what is not current in memory, and the loop has the last word."""
    known, gone = new_id(), new_id()
    running = Running()
    current = attempts(1)[0]
    current.task_id, current.worker_id = known, link.worker_id
    running.add(current)
    inbox = Inbox()
    sessions = Sessions(
        inbox=inbox,
        database=None,  # type: ignore[arg-type] # not asked
        running=RunningView(lambda: running),
        liveness=None,  # type: ignore[arg-type] # not asked
        clock=VirtualClock(0.0),
        lost_after=5.0,
        canary_interval=1.0,
        max_message_bytes=1024,
        version="",
    )
    heartbeat = worker_pb2.Heartbeat(canary=1)
    heartbeat.running.add(task_id=known, attempt=1)
    await sessions._doubt(heartbeat, link)
    assert inbox.empty
    heartbeat.running.add(task_id=known, attempt=2)
    heartbeat.running.add(task_id=gone)
    await sessions._doubt(heartbeat, link)
    [report] = inbox.take(10)
    assert isinstance(report, Report)
    assert list(report.running) == [(known, 2), (gone, -1)]
    assert report.size == 0
