"""The quickstart as a stranger runs it: in a process of its own, with a real engine and real workers."""

import subprocess
import sys
from pathlib import Path

import pytest

from treadle.runtime.connection import CONNECTION_FILE, ConnectionInfo

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "quickstart.py"
LONG = 150


def _quickstart(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )


@pytest.mark.timeout(LONG + 10)
def test_once_prints_the_report_and_leaves_nothing_running(tmp_path: Path) -> None:
    """All tables, the retry that was made to happen, exit code 0, and no process left behind."""
    done = _quickstart("--once", "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 0, done.stdout + done.stderr
    for expected in ("Largest modules", "Deepest nesting", "Functions per package", "functions,", "asyncio"):
        assert expected in done.stdout
    assert "failed once and was tried again: OSError" in done.stdout
    assert "Everything stays up" not in done.stdout
    assert not (tmp_path / "data" / CONNECTION_FILE).exists()
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists()


def test_a_data_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A failure is one message and a code, not a traceback."""
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    done = _quickstart("--once", "--data-dir", str(blocked))
    assert done.returncode == 1
    assert "The quickstart failed" in done.stderr
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_engines_in_one_folder_are_refused(tmp_path: Path) -> None:
    """The second one would wait for the first to go away; better to say so."""
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        connection = ConnectionInfo(http_url="", grpc_address="", database_url="", token="", pid=other.pid)
        (tmp_path / CONNECTION_FILE).write_text(connection.to_json())
        done = _quickstart("--once", "--data-dir", str(tmp_path))
    finally:
        other.communicate(b"\n")
    assert done.returncode == 1
    assert "runs on" in done.stderr
    assert str(other.pid) in done.stderr
