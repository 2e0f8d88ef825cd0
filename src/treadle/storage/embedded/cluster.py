"""The files of the server: made once, complete or not at all."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from treadle.storage.embedded.account import Account
from treadle.storage.embedded.binaries import MAJOR_VERSION
from treadle.storage.embedded.commands import Commands
from treadle.storage.embedded.errors import EmbeddedPostgresError
from treadle.storage.embedded.settings import CONFIG_FILE, render

SUPERUSER = "treadle"
_UNFINISHED = ".postgres-init-"


def ensure_cluster(cluster: Path, account: Account, commands: Commands) -> None:
    if cluster.exists():
        _check_version(cluster)
        return
    for leftover in cluster.parent.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(leftover)
    # made beside its place and then renamed: a start that is killed leaves no half of a cluster
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=cluster.parent))
    try:
        _fill(unfinished, account, commands)
        unfinished.rename(cluster)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    _sync_folder(cluster.parent)


def _fill(folder: Path, account: Account, commands: Commands) -> None:
    if not account.is_ours:
        os.chown(folder, account.uid, account.gid)
    commands.run_as_account(
        "initdb",
        f"--pgdata={folder}",
        f"--username={SUPERUSER}",
        "--encoding=UTF8",
        # the same sort order on every machine, whatever its C library
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        # who gets into the socket's folder may connect; nobody else can
        "--auth-local=trust",
        "--auth-host=reject",
        "--no-instructions",
        paths=[folder],
    )
    with (folder / "postgresql.conf").open("a", encoding="utf-8") as config:
        config.write(f"\ninclude_if_exists '{CONFIG_FILE}'\n")


def write_settings(
    cluster: Path, sockets: Path, account: Account, commands: Commands, overrides: Mapping[str, str]
) -> None:
    text = render(sockets, commands.output("pg_config", "--configure"), overrides)
    # through a new file: the folder belongs to another user, whose links we must not follow
    descriptor, name = tempfile.mkstemp(prefix=CONFIG_FILE, dir=cluster)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if not account.is_ours:
            os.fchown(descriptor, account.uid, account.gid)
        file.write(text)
    Path(name).replace(cluster / CONFIG_FILE)


def _check_version(cluster: Path) -> None:
    try:
        version = (cluster / "PG_VERSION").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise EmbeddedPostgresError(f"{cluster} exists but is no PostgreSQL data folder") from None
    if version != MAJOR_VERSION:
        msg = (
            f"{cluster} was made by PostgreSQL {version} and this is PostgreSQL {MAJOR_VERSION}: "
            "dump it with the old version and restore it with the new one"
        )
        raise EmbeddedPostgresError(msg)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
