import os
import socket
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self
from urllib.parse import quote

from treadle.storage.embedded.account import account_for
from treadle.storage.embedded.binaries import find_binaries
from treadle.storage.embedded.cluster import SUPERUSER, ensure_cluster, write_settings
from treadle.storage.embedded.commands import Commands
from treadle.storage.embedded.errors import EmbeddedPostgresError
from treadle.storage.embedded.locks import Use, exclusive
from treadle.storage.embedded.postmaster import clear_leftovers, running_postmaster
from treadle.storage.embedded.settings import PORT
from treadle.storage.embedded.sockets import make_private, socket_folder

DATABASE = "treadle"
_START_SECONDS = 120
# how long the children of a killed server may take to notice
_ORPHAN_SECONDS = 10.0
_POLL_SECONDS = 0.05
_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


class EmbeddedPostgres:
    """A PostgreSQL server in `data_dir/postgres`, on a Unix socket. Its methods block.

    The server outlives a killed engine, and the next one takes it over. Several engines may use
    one folder; the last to call `stop` stops the server.
    """

    def __init__(self, data_dir: Path, *, settings: Mapping[str, str] = _NO_SETTINGS) -> None:
        self.data_dir = data_dir.expanduser().resolve()
        self.cluster = self.data_dir / "postgres"
        self.sockets = socket_folder(self.data_dir)
        self._settings = settings
        self._use: Use | None = None

    @property
    def url(self) -> str:
        return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(str(self.sockets))}&port={PORT}"

    def start(self) -> str:
        """Start the server, or join the one that runs. Returns the URL of the database."""
        # As root, let the server's user pass through a new folder; what is in it has its own modes.
        self.data_dir.mkdir(mode=0o700 if os.geteuid() else 0o711, parents=True, exist_ok=True)
        with self._alone():
            if self._use is None:
                self._use = Use(self.data_dir / "users.lock")
                self._use.begin()
            try:
                self._bring_up()
                self._ensure_database()
            except BaseException:
                self._end_use()
                raise
        return self.url

    def stop(self) -> None:
        """End our use of the server, and the server with the last use."""
        if not self.data_dir.exists():
            return
        with self._alone():
            if self._use is None:
                self._use = Use(self.data_dir / "users.lock")
            try:
                if self._use.is_last():
                    self._shut_down()
            finally:
                self._end_use()

    def is_alive(self) -> bool:
        """Whether the server runs and takes connections."""
        running = running_postmaster(self.cluster)
        return running is not None and running.status == "ready" and self._accepts()

    def ensure_running(self) -> bool:
        """For an engine that lost its connections: start a server that died. True if it had."""
        if self._use is None:
            raise EmbeddedPostgresError("the server was not started here")
        if self.is_alive():
            return False
        with self._alone():
            died = running_postmaster(self.cluster) is None
            self._bring_up()
            return died

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _alone(self) -> AbstractContextManager[None]:
        return exclusive(self.data_dir / "start.lock")

    def _bring_up(self) -> None:
        if self._join_running():
            return
        account = account_for(self.cluster)
        commands = Commands(find_binaries(), account)
        make_private(self.sockets, account)
        ensure_cluster(self.cluster, account, commands)
        write_settings(self.cluster, self.sockets, account, commands, self._settings)
        clear_leftovers(self.cluster, self.sockets)
        self._launch(commands)

    def _join_running(self) -> bool:
        """Wait for a server that is about to be ready, or about to be gone."""
        deadline = time.monotonic() + _START_SECONDS
        while running_postmaster(self.cluster) is not None:
            if self.is_alive():
                return True
            if time.monotonic() > deadline:
                msg = f"the server in {self.cluster} runs but takes no connections; see {self.cluster}/log"
                raise EmbeddedPostgresError(msg)
            time.sleep(_POLL_SECONDS)
        return False

    def _launch(self, commands: Commands) -> None:
        log = self.cluster / "startup.log"
        deadline = time.monotonic() + _ORPHAN_SECONDS
        while True:
            # the account's user writes it, in a folder of its own
            log.unlink(missing_ok=True)
            try:
                commands.run_as_account(
                    "pg_ctl",
                    "start",
                    "--wait",
                    "--silent",
                    f"--timeout={_START_SECONDS}",
                    f"--pgdata={self.cluster}",
                    f"--log={log}",
                    paths=[self.cluster, self.sockets],
                )
            except EmbeddedPostgresError as failure:
                said = _read(log)
                # children of a killed server are still on their way out
                if "shared memory" in said and time.monotonic() < deadline:
                    time.sleep(_POLL_SECONDS)
                    continue
                raise EmbeddedPostgresError(f"{failure}\n{said}".strip()) from failure
            return

    def _ensure_database(self) -> None:
        commands = Commands(find_binaries(), account_for(self.cluster))
        connect = [f"--host={self.sockets}", f"--port={PORT}", f"--username={SUPERUSER}"]
        query = f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"  # noqa: S608 - a constant
        arguments = ["--no-psqlrc", "--tuples-only", "--no-align", "--dbname=postgres", f"--command={query}"]
        if not commands.output("psql", *connect, *arguments).strip():
            commands.output("createdb", *connect, DATABASE)

    def _shut_down(self) -> None:
        account = account_for(self.cluster)
        if running_postmaster(self.cluster) is not None:
            Commands(find_binaries(), account).run_as_account(
                "pg_ctl",
                "stop",
                "--wait",
                "--silent",
                "--mode=fast",
                f"--timeout={_START_SECONDS}",
                f"--pgdata={self.cluster}",
                paths=[self.cluster],
            )
        with suppress(OSError):  # there, and empty, after a clean stop
            self.sockets.rmdir()

    def _accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.sockets / f".s.PGSQL.{PORT}"))
            except OSError:
                return False
        return True

    def _end_use(self) -> None:
        if self._use is not None:
            self._use.end()
            self._use = None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""
