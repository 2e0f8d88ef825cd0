"""The folder of the server's Unix socket. Whoever may enter it is let in without a password."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from treadle.storage.embedded.account import Account
from treadle.storage.embedded.errors import EmbeddedPostgresError
from treadle.storage.embedded.settings import PORT

# the kernel's limit for a socket's path is 108 bytes, one of them the final NUL
_MAX_PATH_BYTES = 107


def socket_folder(data_dir: Path) -> Path:
    """`run` in the data folder, or a short path made of the folder's name if that one is too long."""
    preferred = data_dir / "run"
    if _fits(preferred):
        return preferred
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    # /tmp first: every engine must find the same folder, whatever its TMPDIR
    for base in (Path("/tmp"), Path(tempfile.gettempdir())):  # noqa: S108 - ownership is checked below
        folder = base / f"treadle-{os.geteuid()}-{digest}"
        if base.is_dir() and _fits(folder):
            return folder
    raise EmbeddedPostgresError(f"no folder with a path short enough for a socket: {preferred}")


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= _MAX_PATH_BYTES


def make_private(folder: Path, account: Account) -> None:
    """Make the folder for `account` alone. One that is there must be such a folder already."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        _check_private(folder, account)
    else:
        if not account.is_ours:
            os.chown(folder, account.uid, account.gid)


def _check_private(folder: Path, account: Account) -> None:
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode) or stat.S_IMODE(info.st_mode) & 0o077:
        raise EmbeddedPostgresError(f"{folder} is not a private folder: remove it and start again")
    if info.st_uid == account.uid:
        return
    if info.st_uid == os.geteuid() and not any(folder.iterdir()):
        # made by us in a start that was killed before it could be handed over
        os.chown(folder, account.uid, account.gid)
        return
    raise EmbeddedPostgresError(f"{folder} belongs to another user: remove it and start again")
