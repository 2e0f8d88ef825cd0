"""What the pages promise is checked: each guarantee by the test it names, each example by running it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.eventually import eventually_sync
from treadle.testing.engine import EngineProcess

ROOT = Path(__file__).parents[2]
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINKED_TEST = re.compile(r"\[(test_\w+)\]\(([^)]+)\)")
VARIABLE = re.compile(r"`(TREADLE_[A-Z_]+)`")


def _bullets(page: str) -> list[str]:
    text, _, _ = page.partition("## What is not promised")
    return re.findall(r"^- (.*?)(?=^- |^#|\Z)", text, re.DOTALL | re.MULTILINE)


def test_each_guarantee_names_the_test_that_checks_it() -> None:
    """A promise without a test is a wish."""
    page = ROOT / "docs" / "guarantees.md"
    bullets = _bullets(page.read_text())
    assert len(bullets) > 20
    unproved = [bullet for bullet in bullets if not LINKED_TEST.search(bullet)]
    assert unproved == []
    missing = [
        f"{name} in {target}"
        for name, target in LINKED_TEST.findall(page.read_text())
        if f"def {name}(" not in (page.parent / target).read_text()
    ]
    assert missing == []


def test_every_setting_is_explained_and_every_explained_one_exists() -> None:
    """The operator's page is complete, and up to date."""
    from treadle.server.settings import Settings

    explained = set(VARIABLE.findall((ROOT / "docs" / "guides" / "operating.md").read_text()))
    assert explained == {f"TREADLE_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize(
    "page",
    ["README.md", "docs/guides/writing-tasks.md", "docs/guides/workflows.md"],
)
def test_the_declarations_of_a_page_are_valid(page: str, tmp_path: Path) -> None:
    """The first example of a page can be copied into a file as it stands."""
    block = PYTHON_BLOCK.search((ROOT / page).read_text())
    assert block is not None
    module = tmp_path / "tasks.py"
    module.write_text(block[1])
    done = subprocess.run(
        [sys.executable, "-c", "import tasks; print(sorted(tasks.app.tasks))"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def readme_app(tmp_path: Path) -> Iterator[tuple[Path, EngineProcess]]:
    """The README's tasks.py, with an engine and a worker."""
    block = PYTHON_BLOCK.search((ROOT / "README.md").read_text())
    assert block is not None
    (tmp_path / "tasks.py").write_text(block[1])
    with EngineProcess(tmp_path / "data") as engine:
        worker = subprocess.Popen(
            [sys.executable, "-m", "treadle.cli", "worker", "tasks:app"],
            cwd=tmp_path,
            env=os.environ | engine.client_env,
        )
        try:
            yield tmp_path, engine
        finally:
            worker.terminate()
            worker.wait(30)


def test_the_readmes_example_runs(readme_app: tuple[Path, EngineProcess]) -> None:
    """From plain Python, and from the command line."""
    folder, engine = readme_app

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env=os.environ | engine.client_env,
            capture_output=True,
            text=True,
            check=False,
        )
        # Until the worker has registered it, the engine knows no such task.
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = eventually_sync(lambda: run("tasks.py"), timeout=30)
    assert shown.strip() == "['Hello, Ada!', 'Hello, Ada!']"
    shown = run("-m", "treadle.cli", "trigger", "greet", "--input", "name=Ada", "--wait", "-o", "json")
    assert "Hello, Ada!" in json.dumps(json.loads(shown))
