"""`treadle doctor`: what it finds, how it says so, and with which exit code."""

import asyncio
import json
from collections.abc import Callable

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from tests.support.databases import new_database
from treadle.cli.app import app
from treadle.cli.exits import Exit
from treadle.model.ids import new_id

Doctor = Callable[..., Result]


@pytest.fixture
def doctor(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """The command on a database of the test's own."""
    for name in ("TREADLE_DATABASE_URL", "TREADLE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, url: str = database_url) -> Result:
        return CliRunner().invoke(app, ["doctor", "--database-url", url, *arguments], catch_exceptions=False)

    return run


def lose_a_run(url: str) -> str:
    """Store a run that is nowhere; its id."""

    async def store() -> str:
        conn = await asyncpg.connect(url)
        task_id = new_id()
        await conn.execute(
            "INSERT INTO treadle.task (id, tenant_id, queue_id, version, step, priority, created_at, input)"
            " VALUES ($1::text::uuid, 1, 1, 1, 0, 1, now(), '{}')",
            task_id,
        )
        await conn.close()
        return task_id

    return asyncio.run(store())


def test_nothing_is_found(doctor: Doctor) -> None:
    result = doctor("--runs")
    assert (result.exit_code, result.stdout) == (Exit.OK, "")
    assert result.stderr == "every run has a way forward\n"
    assert json.loads(doctor("--runs", "-o", "json").stdout) == []


def test_a_lost_run_is_found(doctor: Doctor, database_url: str) -> None:
    task_id = lose_a_run(database_url)
    result = doctor("--runs")
    assert result.exit_code == 1
    header, line = result.stdout.splitlines()
    assert header.split() == ["RUN_ID", "TASK_ID", "TASK", "PROBLEM"]
    assert line.split()[:2] == [task_id, task_id]
    assert line.endswith("has not ended, and is neither queued, running, backing off nor waiting for anything")
    assert result.stderr == "found: 1\n"


def test_findings_as_json(doctor: Doctor, database_url: str) -> None:
    task_id = lose_a_run(database_url)
    for form in ("json", "jsonl"):
        result = doctor("--runs", "-o", form)
        assert result.exit_code == 1
        [found] = json.loads(result.stdout) if form == "json" else [json.loads(result.stdout)]
        assert found.keys() == {"tenant_id", "run_id", "task_id", "task", "problem"}
        assert (found["tenant_id"], found["run_id"]) == (1, task_id)


def test_without_a_check_it_says_which_there_are(doctor: Doctor) -> None:
    result = doctor()
    assert result.exit_code == Exit.USAGE
    assert "treadle doctor --runs" in result.stderr


def test_a_database_without_tables_is_no_healthy_one(doctor: Doctor, postgres_url: str) -> None:
    with new_database(postgres_url) as url:
        result = doctor("--runs", url=url)
    assert result.exit_code == Exit.REFUSED
    assert "treadle migrate" in result.stderr


def test_a_database_that_is_not_there(doctor: Doctor) -> None:
    result = doctor("--runs", url="postgresql://nobody@127.0.0.1:1/nothing")
    assert result.exit_code == Exit.UNREACHABLE
    assert "Traceback" not in result.stderr
