"""What processes use: CPU time and memory, read from /proc. On other systems the figures are left out."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/<pid>/stat."""

    pid: int
    parent: int
    own_us: int
    """CPU microseconds of the process itself."""
    reaped_us: int
    """CPU microseconds of children that have ended."""


def cpu_us(root: int | None) -> int | None:
    """CPU microseconds of a process and of all its descendants, also of those that have ended meanwhile."""
    if root is None:
        return None
    processes = {process.pid: process for process in _all()}
    if root not in processes:
        return None
    total = 0
    family = [root]
    while family:
        pid = family.pop()
        total += processes[pid].own_us + processes[pid].reaped_us
        family += [process.pid for process in processes.values() if process.parent == pid]
    return total


def peak_rss_mb(pid: int | None) -> float | None:
    """Most memory that a process has held at once, in MiB."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    return None


def _all() -> list[Process]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "stat").read_text()
        except OSError:
            continue  # it has just ended
        # The name in brackets may hold anything, also spaces: what counts comes after the last bracket.
        fields = text[text.rindex(")") + 2 :].split()
        user, system, child_user, child_system = (int(value) * _TICK_US for value in fields[11:15])
        found.append(Process(int(entry.name), int(fields[1]), user + system, child_user + child_system))
    return found
