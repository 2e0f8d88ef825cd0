"""On what a figure was measured: hardware, versions, and what else kept the machine busy."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("treadle", "asyncpg", "grpcio", "protobuf", "uvloop", "pydantic")


def describe_machine() -> dict[str, Any]:
    """Cores, memory and systems. Not the machine's name, which is nobody else's business."""
    return {
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _line_of("/proc/cpuinfo", "model name") or platform.processor(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
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


def _memory_gib() -> int | None:
    total = _line_of("/proc/meminfo", "MemTotal")
    return None if total is None else round(int(total.split()[0]) / 1024**2)


def _line_of(path: str, key: str) -> str | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)
