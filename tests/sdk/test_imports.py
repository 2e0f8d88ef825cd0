"""What an import costs, and what it must not need."""

from __future__ import annotations

import subprocess
import sys

import treadle


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_bare_import_loads_nothing_heavy() -> None:
    heavy = "{'grpc', 'pydantic', 'google.protobuf', 'asyncio', 'uvloop'}"
    assert run(f"import sys, treadle; print({heavy} & set(sys.modules))") == "set()\n"


def test_the_sdk_needs_no_server_package() -> None:
    server = "{'asyncpg', 'fastapi', 'uvicorn', 'structlog', 'orjson', 'pydantic_settings', 'jwt', 'cel'}"
    code = f"import sys; from treadle import Treadle, Worker; print({server} & set(sys.modules))"
    assert run(code) == "set()\n"


def test_every_public_name_can_be_had() -> None:
    for name in treadle.__all__:
        assert getattr(treadle, name) is not None
    assert set(treadle.__all__) == set(dir(treadle))


def test_an_app_at_import_time_starts_no_thread() -> None:
    code = "import threading, treadle; treadle.Treadle('t', 'h:1'); print(threading.active_count())"
    assert run(code) == "1\n"
