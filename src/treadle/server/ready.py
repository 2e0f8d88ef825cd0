"""Say that the engine is ready: the ready file and `connection.json`, written whole, readable by the owner only."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from treadle.runtime.connection import CONNECTION_FILE, ConnectionInfo, read_connection
from treadle.server.settings import Settings


def write_ready(settings: Settings, info: ConnectionInfo) -> None:
    """Publish `info`. The files appear in one step: a reader never sees half of one."""
    for path in _files(settings):
        _write_private(path, info.to_json())


def remove_ready(settings: Settings, info: ConnectionInfo) -> None:
    """Take the files away again, unless another engine has put its own address there meanwhile."""
    for path in _files(settings):
        found = read_connection(path)
        if found is not None and found.pid == info.pid:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def _files(settings: Settings) -> Iterator[Path]:
    # connection.json first: whoever waits for the ready file may look for the other one at once.
    yield settings.data_dir / CONNECTION_FILE
    if settings.ready_file is not None:
        yield settings.ready_file


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The file holds a token: it is created with its final mode, never opened up and narrowed later.
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
