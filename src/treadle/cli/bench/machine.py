"""On what a figure was measured: hardware, versions, and what else kept the machine busy."""

import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("treadle", "asyncpg", "grpcio", "protobuf", "uvloop", "pydantic")

_WAKE_UPS = 100
_ECHO = "import os\nwhile os.read(0, 1): os.write(1, b'x')"


def describe_machine() -> dict[str, Any]:
    """Cores, memory and systems. Not the machine's name, which is nobody else's business."""
    return {
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _line_of("/proc/cpuinfo", "model name") or platform.processor(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "python_steps_ms": _python_steps_ms(),
        "wake_up_us": _wake_up_us(),
    }


def describe_versions() -> dict[str, str]:
    """Versions of the packages that have a part in the figures."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def load_average() -> float:
    """Processes that ran or wanted to, over the last minute: beyond our own, they took time from the benchmark."""
    return round(os.getloadavg()[0], 2)


def _python_steps_ms() -> float:
    """Milliseconds for a million steps of a plain loop: how fast one core runs Python. The best of a few."""

    def once() -> float:
        began = time.perf_counter()
        total = 0
        for step in range(200_000):
            total += step
        return time.perf_counter() - began

    return round(min(once() for _ in range(5)) * 5 * 1e3, 1)


def _wake_up_us() -> float:
    """Microseconds until a sleeping process has been woken and has woken the caller in turn: the price of every hop."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", _ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as echo:
        assert echo.stdin is not None and echo.stdout is not None  # noqa: S101, PT018 - started with pipes
        took = []
        for _ in range(_WAKE_UPS):
            time.sleep(0.003)
            began = time.perf_counter()
            echo.stdin.write(b"x")
            echo.stdout.read(1)
            took.append(time.perf_counter() - began)
        echo.stdin.close()
    return round(statistics.median(took) * 1e6, 1)


def _memory_gib() -> int | None:
    total = _line_of("/proc/meminfo", "MemTotal")
    return None if total is None else round(int(total.split()[0]) / 1024**2)


def _line_of(path: str, key: str) -> str | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)
