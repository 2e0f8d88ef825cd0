"""Parts of the benchmark that need no engine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from treadle.cli.bench import usage
from treadle.cli.bench.report import print_report
from treadle.cli.bench.scenarios.steady import backlog
from treadle.cli.bench.times import Times, milliseconds_between, percentile


def test_times_are_shared_and_the_first_mark_counts(tmp_path: Path) -> None:
    mine = Times.create(tmp_path / "t", 3)
    other = Times(tmp_path / "t")
    other.mark(1)
    moment = mine[1]
    assert moment > 0
    mine.mark(1)
    assert (mine[0], mine[1], mine[2]) == (0, moment, 0)
    assert len(other) == 3


def test_differences_leave_out_what_is_unknown(tmp_path: Path) -> None:
    begin, end = Times.create(tmp_path / "b", 3), Times.create(tmp_path / "e", 3)
    begin.mark_range(0, 3, 1_000_000)
    end.mark_range(0, 1, 4_000_000)
    end.mark_range(2, 1, 2_500_000)
    assert milliseconds_between(begin, end) == [1.5, 3.0]


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([7.0], 0.99, 7.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
    ],
)
def test_percentiles(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_usage_counts_children_that_have_ended() -> None:
    before = usage.cpu_us(os.getpid())
    subprocess.run([sys.executable, "-c", "sum(range(6_000_000))"], check=True)
    after = usage.cpu_us(os.getpid())
    assert before is not None
    assert after is not None
    assert after - before >= 20_000
    peak = usage.peak_rss_mb(os.getpid())
    assert peak is not None
    assert peak > 1


def test_usage_of_what_is_not_there() -> None:
    assert usage.cpu_us(None) is None
    assert usage.peak_rss_mb(2**22 + 1) is None


def test_backlog_counts_what_was_due_and_had_not_started(tmp_path: Path) -> None:
    due, started = Times.create(tmp_path / "d", 4), Times.create(tmp_path / "s", 4)
    for number in range(4):
        due.set(number, 1000 + 100 * number)
    for number, moment in enumerate((1050, 1350, 1360, 1450)):
        started.set(number, moment)
    assert backlog(due, started, 1400) == {
        "after_25_pct": 1,  # at 1100: two due, one started
        "after_50_pct": 2,
        "after_75_pct": 3,
        "after_100_pct": 1,
    }


def test_report_for_people_names_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    print_report({"tasks_per_s": 1234.5, "gone": None, "rounds": [{"gap_s": 1}, {"gap_s": 2}]}, as_json=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["tasks", "per", "s", "1,234.5"],
        ["gone", "-"],
        ["rounds", "1", "gap", "s", "1"],
        ["rounds", "2", "gap", "s", "2"],
    ]
