"""Commands without an engine: usage, exit codes, what they say."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from treadle.cli import extras
from treadle.cli.app import app
from treadle.cli.exits import Exit


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "Run":
    monkeypatch.setenv("TREADLE_DATA_DIR", str(tmp_path / "data"))
    for name in ("TREADLE_TOKEN", "TREADLE_URL", "TREADLE_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return Run()


class Run:
    """Invoke the command line."""

    def __call__(self, *arguments: str, input: str = "") -> Result:  # noqa: A002 - as the runner calls it
        return CliRunner().invoke(app, list(arguments), input=input, catch_exceptions=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["trigger"],
        ["trigger", "t", "--priority", "9"],
        ["trigger", "t", "-i", "{"],
        ["trigger", "t", "--timeout", "soon"],
        ["trigger", "t", "--meta", "x"],
        ["runs", "list", "--status", "busy"],
        ["runs", "list", "--since", "yesterday"],
        ["runs", "list", "-o", "xml"],
        ["runs", "list", "--limit", "0"],
        ["runs", "cancel"],
        ["runs", "replay"],
        ["runs", "cancel", "id", "--task", "t"],
        ["serve", "--roles", "cook"],
        ["serve", "--grpc-port", "70000"],
        ["migrate", "--database-url", "mysql://x"],
        ["token", "create", "--expires-days", "0"],
        ["worker", "nothing_here:app"],
        ["bench", "nothing"],
    ],
)
def test_usage_errors(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == Exit.USAGE, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments", [["runs", "list"], ["trigger", "t"], ["runs", "get", "x"], ["runs", "cancel", "x"]]
)
def test_no_engine_configured(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == Exit.UNREACHABLE
    assert "treadle dev" in result.stderr


def test_nobody_listens(run: Run, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> None:
    monkeypatch.setenv("TREADLE_TOKEN", "x")
    monkeypatch.setenv("TREADLE_URL", f"127.0.0.1:{unused_tcp_port}")
    result = run("runs", "list", "-o", "json")
    assert result.exit_code == Exit.UNREACHABLE
    assert json.loads(result.stderr)["code"] == "unreachable"


def test_a_web_address_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_TOKEN", "x")
    monkeypatch.setenv("TREADLE_URL", "http://127.0.0.1:8080")
    result = run("runs", "list")
    assert result.exit_code == Exit.UNREACHABLE
    assert "gRPC address" in result.stderr


@pytest.mark.parametrize("command", ["serve", "dev", "migrate", "token create", "bench latency"])
def test_commands_of_the_engine_say_how_to_install_it(run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr(extras, "_SERVER_MODULES", ("asyncpg", "no_such_module_here"))
    result = run(*command.split())
    assert result.exit_code == Exit.USAGE
    assert 'pip install "treadle[server]"' in result.stderr


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("x = 1", "job_a:app", "found nothing"),
        ("app = 1", "job_b:app", "found a int"),
        ("x = 1", "job_c", "it has: none"),
        ("from treadle import Treadle\na = Treadle()\nb = Treadle()", "job_d", "it has: a, b"),
    ],
)
def test_an_app_that_is_not_there(run: Run, tmp_path: Path, source: str, target: str, said: str) -> None:
    (tmp_path / f"{target.partition(':')[0]}.py").write_text(source)
    result = run("worker", target)
    assert result.exit_code == Exit.USAGE
    assert said in result.stderr


def test_an_error_in_the_users_module_keeps_its_traceback(run: Run, tmp_path: Path) -> None:
    (tmp_path / "job_broken.py").write_text("import no_such_thing_either")
    with pytest.raises(ModuleNotFoundError, match="no_such_thing_either"):
        run("worker", "job_broken:app")
