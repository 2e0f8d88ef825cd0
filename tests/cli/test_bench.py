"""Every scenario runs to its end and prints figures that hang together. Speed itself is not judged here."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.cli_process import treadle
from treadle.cli.exits import Exit

pytestmark = pytest.mark.timeout(150)


def bench(folder: Path, scenario: str, *options: str) -> dict[str, Any]:
    done = treadle("bench", scenario, "--json", "--data-dir", str(folder), *options, env={}, timeout=140)
    assert done.code == Exit.OK, done.err
    report: dict[str, Any] = done.json()
    assert report["scenario"] == scenario
    assert report["postgres"]["fsync"] == "on"
    assert report["machine"]["cpus"] >= 1
    assert report["versions"]["treadle"]
    assert list(folder.iterdir()) == [], "something was left behind"
    return report


def check_work(report: dict[str, Any], tasks: int) -> None:
    assert report["tasks"] == tasks
    assert report["tasks_per_s"] > 0
    assert report["wal_bytes_per_task"] > 0
    for part in ("engine", "postgres"):
        assert report[f"{part}_cpu_us_per_task"] > 0, part


def check_spread(spread: dict[str, float]) -> None:
    assert 0 < spread["p50"] <= spread["p95"] <= spread["p99"]


@pytest.mark.parametrize(("client", "tasks"), [("treadle", 1500), ("hatchet", 60)])
def test_throughput(client: str, tasks: int, tmp_path: Path) -> None:
    report = bench(tmp_path, "throughput", "--client", client, "--tasks", str(tasks), "--slots", "100")
    check_work(report, tasks)
    check_spread(report["start_latency_ms"])
    assert report["client"] == client
    assert report["row_versions_per_task"] >= 2
    assert report["engine_peak_rss_mb"] > 10


def test_throughput_of_tenants_with_payloads_on_two_engines(tmp_path: Path) -> None:
    options = ("--tasks", "3000", "--tenants", "2", "--engines", "2", "--payload-bytes", "500")
    report = bench(tmp_path, "throughput", *options)
    check_work(report, 3000)
    assert (report["tenants"], report["engines"], report["payload_bytes"]) == (2, 2, 500)
    assert report["wal_bytes_per_task"] > 1000


@pytest.mark.parametrize("scenario", ["latency", "await"])
def test_one_at_a_time(scenario: str, tmp_path: Path) -> None:
    report = bench(tmp_path, scenario, "--tasks", "20")
    check_work(report, 20)
    check_spread(report["start_latency_ms"])
    check_spread(report["result_latency_ms"])
    assert report["result_latency_ms"]["p50"] >= report["start_latency_ms"]["p50"]


def test_sustained(tmp_path: Path) -> None:
    report = bench(tmp_path, "sustained", "--rate", "100", "--seconds", "2")
    check_work(report, 200)
    check_spread(report["start_latency_ms"])
    assert len(report["backlog"]) == 4
    assert report["all_stored_after_end_s"] >= report["last_start_after_end_s"]


def test_drain(tmp_path: Path) -> None:
    report = bench(tmp_path, "drain", "--tasks", "1500", "--slots", "100")
    check_work(report, 1500)
    check_work(report["enqueue"], 1500)


def test_backlog(tmp_path: Path) -> None:
    report = bench(tmp_path, "backlog", "--tasks", "2000")
    check_work(report["shallow"], 2000)
    check_work(report["deep"], 2000)
    assert report["ratios"]["enqueue"] > 0
    assert report["ratios"]["drain"] > 0


def test_growth(tmp_path: Path) -> None:
    report = bench(tmp_path, "growth", "--history", "3000", "--tasks", "3000", "--rounds", "1")
    for state in ("empty", "grown"):
        check_work(report[state]["drains"][0], 3000)
        assert report[state]["list_ms"]["newest"]["p50"] > 0
    assert set(report["ratios"]) >= {"drain", "list_newest", "list_completed", "list_active", "list_one"}


def test_dag(tmp_path: Path) -> None:
    report = bench(tmp_path, "dag", "--tasks", "306")
    sizes = {"chain": (10, 30), "diamond": (4, 76), "fan": (102, 3)}
    assert list(report["shapes"]) == list(sizes)
    for name, (size, runs) in sizes.items():
        shape = report["shapes"][name]
        assert (shape["tasks_per_run"], shape["runs"]) == (size, runs)
        check_work(shape, size * runs)
        assert shape["row_versions_per_task"] >= 2


def test_dag_of_one_shape_in_two_processes(tmp_path: Path) -> None:
    options = ("--tasks", "100", "--shape", "diamond", "--processes", "2", "--window", "40")
    report = bench(tmp_path, "dag", *options)
    assert list(report["shapes"]) == ["diamond"]
    # Two of its tasks run beside each other.
    assert report["shapes"]["diamond"]["runs_at_once"] == 20


def test_fanout(tmp_path: Path) -> None:
    report = bench(tmp_path, "fanout", "--children", "1200", "--rounds", "1", "--slots", "100")
    [once], [twice] = report["once"], report["twice"]
    check_work(once, 1200)
    check_work(twice, 2400)
    assert report["seconds"] == once["seconds"]
    assert report["ratio"] == round(twice["seconds"] / once["seconds"], 3)
    # Each has a row of its own as a child.
    assert report["row_versions_per_task"] >= 4


def test_idle(tmp_path: Path) -> None:
    report = bench(tmp_path, "idle", "--tenants", "4", "--workers", "2", "--seconds", "1")
    assert (report["tenants"], report["workers"]) == (4, 2)
    assert report["transactions_per_s"] >= 0
    assert report["engine_cpu_pct"] >= 0


def test_recovery(tmp_path: Path) -> None:
    report = bench(tmp_path, "recovery", "--rate", "50", "--seconds", "8", "--rounds", "1")
    assert report["next_assignment_s"]["max"] > 0
    assert report["rounds"][0]["longest_gap_between_starts_s"] > 0


def test_hatchet_client_has_one_process(tmp_path: Path) -> None:
    options = ("--client", "hatchet", "--processes", "2", "--data-dir", str(tmp_path))
    done = treadle("bench", "throughput", *options, env={}, timeout=60)
    assert done.code == Exit.USAGE
    assert "--processes" in done.err
