"""The command line is instant: nothing is imported that a command does not need."""

import subprocess
import sys

import pytest

_HEAVY = ("rich", "grpc", "google.protobuf", "asyncio", "asyncpg", "fastapi", "uvloop", "watchfiles", "jwt")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["runs", "--help"], ["token", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    # Typer brings pydantic in once it parses arguments of a command.
    heavy = (*_HEAVY, "pydantic") if len(arguments) == 1 else _HEAVY
    code = (
        "import sys\n"
        "from treadle.cli import main\n"
        f"sys.argv = ['treadle', *{arguments!r}]\n"
        "try:\n    main()\n"
        f"finally:\n    print('HEAVY', [name for name in {heavy!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_no_arguments_shows_help_and_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "treadle.cli"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "Commands:" in done.stdout + done.stderr


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    command = f"{sys.executable} -m treadle.cli --help | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("Usage:")
    assert done.stderr == ""
