"""Whether the server of a cluster runs, from its file postmaster.pid."""

import os
from dataclasses import dataclass
from pathlib import Path

_PID_LINE = 0
_STATUS_LINE = 7  # "starting", "ready", "standby" or "stopping"
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Postmaster:
    pid: int
    status: str


def read_pid_file(cluster: Path) -> Postmaster | None:
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    try:
        pid = int(lines[_PID_LINE])
    except (IndexError, ValueError):
        return None  # read while it was being written, or torn by a crash
    return Postmaster(pid, lines[_STATUS_LINE].strip() if len(lines) > _STATUS_LINE else "starting")


def running_postmaster(cluster: Path) -> Postmaster | None:
    """The live server of this cluster. A stale file, a zombie, or a stranger who got the number is none."""
    found = read_pid_file(cluster)
    return found if found is not None and _is_postmaster_of(found.pid, cluster) else None


def _is_postmaster_of(pid: int, cluster: Path) -> bool:
    if not process_exists(pid):
        return False
    if not (_PROC / "self" / "cwd").exists():
        return True  # no /proc (macOS): trust the file
    try:
        # a server's working folder is its cluster; a zombie has none
        return (_PROC / str(pid) / "cwd").readlink() == cluster.resolve()
    except OSError:
        return False


def process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def clear_leftovers(cluster: Path, sockets: Path) -> None:
    """After a crash: take away what would keep the server from starting. Only for a server that is down.

    PostgreSQL itself takes a pid file whose process is gone for stale. It can't know when the number
    belongs to another process by now, as it often does after a container restarted. That old children
    may still write is checked apart from the file, by the shared memory of the cluster's folder.
    """
    found = read_pid_file(cluster)
    if found is None or process_exists(found.pid):
        (cluster / "postmaster.pid").unlink(missing_ok=True)
    for socket in sockets.glob(".s.PGSQL.*"):
        socket.unlink(missing_ok=True)
