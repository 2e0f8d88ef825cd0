"""Who is alive, by a clock that only the test moves."""

from typing import Any

import pytest

from treadle.dispatcher.liveness import Liveness
from treadle.engine.commands import Command, WorkerChanged, WorkerLost
from treadle.engine.inbox import Inbox
from treadle.runtime.clock import VirtualClock

WORKER = "01890000-0000-7000-8000-000000000001"
OTHER = "01890000-0000-7000-8000-000000000002"


class Watch:
    """A liveness watch, and what it has said."""

    def __init__(self) -> None:
        self.clock = VirtualClock(1000.0)
        self.inbox = Inbox()
        # "Last seen" is stored by another method than those under test.
        nowhere: Any = None
        self.liveness = Liveness(self.inbox, nowhere, self.clock)

    def after(self, seconds: float) -> list[Command]:
        """What the watch says after that time."""
        self.clock.advance(seconds)
        self.liveness.look()
        return self.inbox.take(1000)


@pytest.fixture
def watch() -> Watch:
    return Watch()


def rests(command: Command) -> bool:
    assert isinstance(command, WorkerChanged)
    assert command.pulse
    return not command.available


def test_a_worker_that_speaks_is_left_alone(watch: Watch) -> None:
    watch.liveness.watch(WORKER, 1, 30.0)
    for _ in range(20):
        assert watch.after(4) == []
        watch.liveness.seen(WORKER)
    assert watch.liveness.last_seen(WORKER) == watch.clock.now()


def test_a_silent_worker_rests_once_and_is_lost_in_the_end(watch: Watch) -> None:
    watch.liveness.watch(WORKER, 1, 30.0)
    [command] = watch.after(6)
    assert rests(command)
    assert watch.after(20) == []
    [command] = watch.after(5)
    assert isinstance(command, WorkerLost)
    assert (command.tenant_id, command.worker_id) == (1, WORKER)
    assert watch.after(100) == []
    assert watch.liveness.last_seen(WORKER) is None


def test_a_worker_that_is_heard_again_is_available_again(watch: Watch) -> None:
    watch.liveness.watch(WORKER, 1, 30.0)
    watch.after(10)
    watch.liveness.seen(WORKER)
    watch.liveness.seen(WORKER)
    [command] = watch.after(0)
    assert not rests(command)
    assert watch.after(5) == []


def test_each_worker_has_its_own_patience(watch: Watch) -> None:
    watch.liveness.watch(WORKER, 1, 3.0)
    watch.liveness.watch(OTHER, 2, 30.0)
    [command] = watch.after(4)
    assert isinstance(command, WorkerLost)
    assert command.worker_id == WORKER


def test_a_worker_that_opens_a_stream_again_begins_anew(watch: Watch) -> None:
    watch.liveness.watch(WORKER, 1, 5.0)
    watch.clock.advance(4)
    watch.liveness.watch(WORKER, 1, 5.0)
    assert watch.after(4) == []


def test_nothing_is_said_of_those_that_left(watch: Watch) -> None:
    watch.liveness.watch(WORKER, 1, 5.0)
    watch.liveness.forget(WORKER)
    watch.liveness.forget(WORKER)
    watch.liveness.seen(WORKER)
    assert watch.after(100) == []
