"""Parts of `treadle dev` that need no process."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from treadle.cli.dev.feed import RunFeed
from treadle.cli.dev.find import find_target
from treadle.cli.dev.session import without_password
from treadle.model.ids import new_id
from treadle.model.states import RunStatus
from treadle.wire.convert import TREADLE_STATUS, treadle_time
from treadle.wire.gen.treadle.v1 import runs_pb2

if TYPE_CHECKING:
    from treadle.cli.engine import Engine


@pytest.mark.parametrize(
    ("name", "source", "found"),
    [
        ("app.py", "from treadle import Treadle\n\napp = Treadle()\n", "app:app"),
        ("tasks.py", "jobs: Treadle = treadle.Treadle(url='x')\n", "tasks:jobs"),
        ("main.py", "def make():\n    app = Treadle()\n", None),
        ("other.py", "app = Treadle()\n", None),
    ],
)
def test_an_app_is_found_in_the_usual_files(tmp_path: Path, name: str, source: str, found: str | None) -> None:
    (tmp_path / name).write_text(source)
    assert find_target(tmp_path) == found


def test_passwords_are_not_shown() -> None:
    assert without_password("postgresql://me:secret@host:5432/db") == "postgresql://me:***@host:5432/db"
    assert without_password("postgresql://me@/db?host=/tmp") == "postgresql://me@/db?host=/tmp"


class Runs:
    """An engine's list of runs, newest first."""

    def __init__(self) -> None:
        self.runs: list[runs_pb2.RunSummary] = []

    def add(self, status: RunStatus) -> runs_pb2.RunSummary:
        run = runs_pb2.RunSummary(
            id=new_id(), task="resize", status=TREADLE_STATUS[status], created_at=treadle_time(1_000_000_000_000_000)
        )
        self.runs.insert(0, run)
        return run

    def list_runs(self, _request: runs_pb2.ListRunsRequest, limit: int) -> list[runs_pb2.RunSummary]:
        return self.runs[:limit]

    def get(self, run_id: str) -> runs_pb2.RunDetail:
        return runs_pb2.RunDetail(run=next(run for run in self.runs if run.id == run_id))


def test_the_feed_tells_of_each_end_once() -> None:
    runs = Runs()
    runs.add(RunStatus.COMPLETED)
    feed = RunFeed(cast("Engine", runs))
    feed.skip_past()
    assert feed.poll() == []
    failed = runs.add(RunStatus.FAILED)
    failed.error = "ValueError: no"
    running = runs.add(RunStatus.RUNNING)
    (line,) = feed.poll()
    assert failed.id in line
    assert "failed" in line
    assert "ValueError: no" in line
    running.status = TREADLE_STATUS[RunStatus.COMPLETED]
    (line,) = feed.poll()
    assert running.id in line
    assert feed.poll() == []


def test_a_replayed_run_is_told_of_again() -> None:
    runs = Runs()
    run = runs.add(RunStatus.FAILED)
    feed = RunFeed(cast("Engine", runs))
    assert len(feed.poll()) == 1
    run.status = TREADLE_STATUS[RunStatus.QUEUED]
    assert feed.poll() == []
    run.status = TREADLE_STATUS[RunStatus.COMPLETED]
    assert len(feed.poll()) == 1


def test_a_long_run_is_not_lost_behind_thousands() -> None:
    runs = Runs()
    long = runs.add(RunStatus.RUNNING)
    feed = RunFeed(cast("Engine", runs))
    assert feed.poll() == []
    for _ in range(1000):
        runs.add(RunStatus.COMPLETED)
    lines = feed.poll()
    assert lines[0].endswith("and 960 more")
    assert len(lines) == 41
    long.status = TREADLE_STATUS[RunStatus.COMPLETED]
    (line,) = feed.poll()
    assert long.id in line
