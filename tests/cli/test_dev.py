"""`treadle dev`: from an empty folder to finished runs, through a change of the code, to a clean end."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.cli_process import Done, command, environment, treadle
from tests.support.eventually import eventually_sync
from treadle.cli.exits import Exit

_APP = """
from treadle import Treadle

app = Treadle()


@app.task
async def greet(name: str) -> str:
    return "{greeting}, " + name
"""


class Dev:
    """A running `treadle dev`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {"TREADLE_DATA_DIR": str(folder / "data"), "NO_COLOR": "1"}
        self._log = (folder / "dev.log").open("wb")
        self.process = subprocess.Popen(
            command("dev", "--grpc-port", "0", "--http-port", "0"),
            env=environment(self.env),
            cwd=folder,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __call__(self, *arguments: str) -> Done:
        return treadle(*arguments, env=self.env, cwd=self.folder)

    def log(self) -> str:
        return (self.folder / "dev.log").read_text()

    def children(self) -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == self.process.pid:
                found.append(int(entry.name))
        return found

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            finally:
                self.process.kill()
        self._log.close()


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    (tmp_path / "app.py").write_text(_APP.format(greeting="Hello"))
    session = Dev(tmp_path)
    try:
        yield session
    finally:
        session.end()


def test_dev_from_start_to_end(dev: Dev) -> None:
    def greeted(expected: str) -> None:
        assert dev.process.poll() is None, dev.log()
        done = dev("trigger", "greet", "-i", "name=Ada", "--wait")
        assert (done.code, done.out) == (Exit.OK, f'"{expected}, Ada"\n'), done.err

    eventually_sync(lambda: greeted("Hello"), timeout=40)
    assert "app:app, reload on" in dev.log()

    def told() -> None:
        assert "greet" in dev.log().split("Try", 1)[1].split("\n", 1)[1]
        assert "completed" in dev.log()

    eventually_sync(told)

    (dev.folder / "app.py").write_text(_APP.format(greeting="Good evening"))
    eventually_sync(lambda: greeted("Good evening"), timeout=30)
    assert "app.py changed" in dev.log()

    children = dev.children()
    assert len(children) >= 2
    dev.process.send_signal(signal.SIGINT)
    assert dev.process.wait(30) == 0, dev.log()
    for pid in children:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not (dev.folder / "data" / "connection.json").exists()
    assert "Traceback" not in dev.log()
    assert dev("runs", "list").code == Exit.UNREACHABLE
