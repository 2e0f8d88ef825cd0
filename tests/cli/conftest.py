"""One engine and one worker for the tests of this folder that need them."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.cli_process import Done, command, environment, treadle
from treadle.testing.engine import EngineProcess

_JOBS = """
import asyncio
from pathlib import Path

from treadle import NonRetryable, Treadle

app = Treadle()


@app.task
async def add(a: int, b: int = 1) -> int:
    return a + b


@app.task
async def describe(text: str) -> dict[str, str]:
    return {"text": text}


@app.task
def fail(reason: str) -> None:
    raise NonRetryable(reason)


@app.task
async def wait_for(gate: str) -> str:
    while not Path(gate).exists():
        await asyncio.sleep(0.02)
    return gate
"""


@dataclass(frozen=True)
class Shop:
    """A running engine with a worker."""

    engine: EngineProcess
    folder: Path

    def __call__(self, *arguments: str, stdin: str = "") -> Done:
        return treadle(*arguments, env=self.engine.client_env, cwd=self.folder, stdin=stdin)


@pytest.fixture(scope="module")
def shop(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    from tests.support.databases import new_database

    folder = tmp_path_factory.mktemp("shop")
    (folder / "jobs.py").write_text(_JOBS)
    with new_database(postgres_url) as url, EngineProcess(folder / "engine", database_url=url) as engine:
        with (folder / "worker.log").open("wb") as log:
            worker = subprocess.Popen(
                command("worker", "jobs:app", "--slots", "20"),
                env=environment(engine.client_env),
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        try:
            yield Shop(engine, folder)
        finally:
            worker.terminate()
            code = worker.wait(20)
        assert code == 0, (folder / "worker.log").read_text()
