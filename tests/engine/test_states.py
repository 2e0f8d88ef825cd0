"""Every move in every state a run can be in, and what comes of it: one table."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest

from tests.engine.fakes import FakeWorker
from tests.engine.harness import Engine, completed, failed, started
from treadle.model.errors import NotFound
from treadle.model.states import RunStatus


class Scene(NamedTuple):
    """One run in some state, and the worker that has had it, or may yet."""

    task_id: str
    attempt: int
    worker: FakeWorker


STATES = ("queued", "running", "backing off", "completed", "failed", "cancelled", "replayed")


async def prepare(engine: Engine, state: str) -> Scene:
    """A fresh run in this state. Its worker has one slot, and no room for another attempt of it."""
    kind = await engine.workflow(retries=2, backoff_factor=50.0, timeout_ms=100_000, schedule_timeout_ms=100_000)
    worker = await engine.worker(kind) if state != "queued" else await engine.worker()
    [task_id] = await engine.start(kind)
    match state:
        case "backing off":
            await engine.report(worker, failed=failed([(task_id, 1)]))
        case "completed":
            await engine.report(worker, completed=completed([(task_id, 1)]))
        case "failed":
            await engine.report(worker, failed=failed([(task_id, 1)], should_not_retry=True))
        case "cancelled" | "replayed":
            await engine.cancel(task_id)
            if state == "replayed":
                await engine.disconnect(worker)
                await engine.replay(task_id)
    attempt = (await engine.run(task_id)).attempt
    return Scene(task_id, attempt, worker)


Move = Callable[[Engine, Scene], Awaitable[object]]


async def refresh(engine: Engine, scene: Scene) -> None:
    await engine.refresh(scene.task_id, 10)


async def release(engine: Engine, scene: Scene) -> None:
    await engine.release(scene.task_id)


MOVES: dict[str, Move] = {
    "start": lambda e, s: e.report(s.worker, started=started([(s.task_id, s.attempt)], e.clock.now())),
    "complete": lambda e, s: e.report(s.worker, completed=completed([(s.task_id, s.attempt)])),
    "fail": lambda e, s: e.report(s.worker, failed=failed([(s.task_id, s.attempt)])),
    "fail for good": lambda e, s: e.report(s.worker, failed=failed([(s.task_id, s.attempt)], should_not_retry=True)),
    "hand back": lambda e, s: e.report(s.worker, handed_back=[(s.task_id, s.attempt)]),
    "say stopped": lambda e, s: e.report(s.worker, stopped=[(s.task_id, s.attempt)]),
    "lose worker": lambda e, s: e.lose(s.worker),
    "cancel": lambda e, s: e.cancel(s.task_id),
    "replay": lambda e, s: e.replay(s.task_id),
    "refresh": refresh,
    "release": release,
    "overrun": lambda e, _: e.pass_time(100),
}

SAME = "same"
NOT_FOUND = "not found"

# What a run is after the move: (status, attempt counted from where it stood, retries used). SAME: no row changes.
Q, R = RunStatus.QUEUED, RunStatus.RUNNING
COMPLETED, FAILED, CANCELLED = RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED
Outcome = tuple[RunStatus, int, int] | str

ENDED: dict[str, Outcome] = {
    **dict.fromkeys(MOVES, SAME),
    "replay": (R, 1, 0),
    "refresh": NOT_FOUND,
    "release": NOT_FOUND,
}
WAITING: dict[str, Outcome] = {
    **dict.fromkeys(MOVES, SAME),
    "cancel": (CANCELLED, 0, 0),
    "refresh": NOT_FOUND,
    "release": NOT_FOUND,
    "overrun": (CANCELLED, 0, 0),
}
TABLE: dict[str, dict[str, Outcome]] = {
    "queued": WAITING,
    "running": {
        "start": (R, 0, 0),
        "complete": (COMPLETED, 0, 0),
        "fail": (Q, 1, 1),
        "fail for good": (FAILED, 0, 0),
        "hand back": (R, 1, 0),
        "say stopped": SAME,
        "lose worker": (Q, 1, 0),
        "cancel": (CANCELLED, 0, 0),
        "replay": SAME,
        "refresh": (R, 0, 0),
        "release": (R, 0, 0),
        "overrun": (Q, 1, 1),
    },
    "backing off": {
        **dict.fromkeys(MOVES, SAME),
        "cancel": (CANCELLED, 0, 1),
        "refresh": NOT_FOUND,
        "release": NOT_FOUND,
        "overrun": (R, 0, 1),
    },
    "completed": ENDED,
    "failed": ENDED,
    # The worker has not said that the cancelled code has ended: its slot is still taken.
    "cancelled": {**ENDED, "replay": (Q, 1, 0)},
    "replayed": WAITING,
}


def test_the_table_is_complete() -> None:
    assert set(TABLE) == set(STATES)
    assert all(set(row) == set(MOVES) for row in TABLE.values())


@pytest.mark.parametrize("state", STATES)
async def test_every_move(engine: Engine, state: str) -> None:
    for name, move in MOVES.items():
        expected = TABLE[state][name]
        scene = await prepare(engine, state)
        before = await engine.snapshot()
        if expected == NOT_FOUND:
            with pytest.raises(NotFound):
                await move(engine, scene)
        else:
            await move(engine, scene)
        if isinstance(expected, str):
            assert await engine.snapshot() == before, name
        else:
            run = await engine.run(scene.task_id)
            assert (run.status, run.attempt - scene.attempt, run.retries_used) == expected, name
        # The scene is cleared for the next move.
        await engine.disconnect(scene.worker)
        await engine.cancel(scene.task_id)
