"""Every scenario runs to its end and prints figures that hang together. Speed itself is not judged here."""

from pathlib import Path

import pytest

from tests.cli.cli_process import treadle
from treadle.cli.exits import Exit


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("scenario", "client", "tasks"),
    [
        ("throughput", "treadle", 1500),
        ("latency", "treadle", 20),
        ("drain", "treadle", 1500),
        ("throughput", "hatchet", 60),
    ],
)
def test_bench(scenario: str, client: str, tasks: int, tmp_path: Path) -> None:
    done = treadle(
        "bench",
        scenario,
        "--json",
        "--client",
        client,
        "--tasks",
        str(tasks),
        "--slots",
        "100",
        "--data-dir",
        str(tmp_path),
        env={},
        timeout=140,
    )
    assert done.code == Exit.OK, done.err
    report = done.json()
    assert (report["scenario"], report["client"], report["tasks"]) == (scenario, client, tasks)
    assert report["tasks_per_s"] > 0
    if scenario != "drain":
        latency = report["start_latency_ms"]
        assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    if scenario == "latency":
        assert report["result_latency_ms"]["p50"] >= report["start_latency_ms"]["p50"]
    assert report["wal_bytes_per_task"] > 0
    assert report["row_versions_per_task"] >= 2
    assert report["engine_cpu_us_per_task"] > 0
    assert report["engine_peak_rss_mb"] > 10
    assert report["postgres"]["fsync"] == "on"
    assert list(tmp_path.iterdir()) == []
