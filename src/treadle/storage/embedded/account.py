"""As whom the server runs, and whether that user gets to the files it needs."""

import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from treadle.storage.embedded.errors import EmbeddedPostgresError

# The first of these that exists runs the server when the engine is root.
_ACCOUNTS = ("postgres", "nobody")
_AS_USER = Path(__file__).with_name("as_user.py")

UNREACHABLE = (
    "PostgreSQL can't run as root, and the user {user}, whom it would run as, may not pass through {path}. Run the engine as another user, "
    "choose a folder that this user may enter with --data-dir (such as /var/lib/treadle), or use a "
    "server of your own with --database-url"
)


@dataclass(frozen=True, slots=True)
class Account:
    """Who owns the cluster's folder and runs the server."""

    uid: int
    gid: int
    name: str

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()


def account_for(cluster: Path) -> Account:
    """Ourselves; if we are root, the owner of the cluster, or the account for a new one."""
    uid = os.geteuid()
    if uid != 0:
        return Account(uid, os.getegid(), str(uid))
    try:
        owner = cluster.stat()
    except FileNotFoundError:
        pass
    else:
        if owner.st_uid != 0:
            return Account(owner.st_uid, owner.st_gid, _name(owner.st_uid))
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, name)
    msg = (
        "PostgreSQL can't run as root, and there is no user 'postgres' or 'nobody' to run it as. "
        "Run the engine as another user, or use a server of your own with --database-url"
    )
    raise EmbeddedPostgresError(msg)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def prefix(account: Account, paths: Iterable[Path]) -> list[str]:
    """What to put before a command so that it runs as `account` and gets to `paths`."""
    if account.is_ours:
        return []
    wanted = list(paths)
    barrier = next(filter(None, (_barrier(path, account) for path in wanted)), None)
    # -I and -S: nothing of the environment or of site-packages runs as root on the way
    command = [sys.executable, "-I", "-S", str(_AS_USER), str(account.uid), str(account.gid)]
    if barrier is not None:
        command.append("--traverse")
        _require_traversal([*command, "--"], wanted, barrier, account)
    return [*command, "--"]


def _require_traversal(command: Sequence[str], paths: Sequence[Path], barrier: Path, account: Account) -> None:
    """Containers often lack the capability: find out before PostgreSQL fails with a puzzle."""
    # `test -x` asks the kernel as that user, so access lists and capabilities count
    for path in paths:
        probe = subprocess.run(  # noqa: S603 - fixed program, own paths
            [*command, "/usr/bin/env", "test", "-x", str(path)],
            capture_output=True,
            cwd="/",
            check=False,
        )
        if probe.returncode != 0:
            raise EmbeddedPostgresError(UNREACHABLE.format(user=account.name, path=barrier))


def _barrier(path: Path, account: Account) -> Path | None:
    """The first folder on the way to `path`, or the path itself, that the mode bits keep `account` out of."""
    resolved = path.resolve()
    way = (*reversed(resolved.parents), resolved)
    return next((step for step in way if not _may_enter(step, account)), None)


def _may_enter(path: Path, account: Account) -> bool:
    info = path.stat()
    if info.st_uid == account.uid:
        return bool(info.st_mode & stat.S_IXUSR)
    if info.st_gid == account.gid:
        return bool(info.st_mode & stat.S_IXGRP)
    return bool(info.st_mode & stat.S_IXOTH)
