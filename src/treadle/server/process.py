"""An engine in a process of its own: start it, stop or kill it, start it again on the same data."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from treadle.runtime.connection import ConnectionInfo, read_connection

_TAIL_BYTES = 8 * 1024
_POLL_SECONDS = 0.02


class EngineStartError(Exception):
    """The engine ended, or was not ready in time. The message carries the tail of its log."""


class EngineProcess:
    """`treadle serve` as a subprocess with a data folder of its own.

    Use it as a context manager, plain or async; `start`, `kill`, `terminate` and `restart` may be called in any order
    in between. A second start takes the ports of the first one again, so that clients can come back. Times are in
    seconds.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        database_url: str | None = None,
        grpc_port: int | None = 0,
        http_port: int | None = 0,
        roles: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        inherit_settings: bool = False,
        start_timeout: float = 60.0,
    ) -> None:
        """Describe the engine; nothing is started yet.

        Args:
            data_dir: Folder for its database, its log and its ready file; made when absent.
            database_url: A database to use instead of the embedded one.
            grpc_port: 0 for any free one, None for the engine's own choice.
            http_port: As `grpc_port`.
            roles: Parts of the engine to run; none named: all.
            env: Variables to set for the engine.
            inherit_settings: Whether the caller's `TREADLE_*` variables reach the engine. Tests want them kept out.
            start_timeout: Seconds until it has to be ready.
        """
        self.data_dir = Path(data_dir)
        self.log_file = self.data_dir / "engine.log"
        self._ready_file = self.data_dir / "ready.json"
        self._database_url = database_url
        self._grpc_port = grpc_port
        self._http_port = http_port
        self._roles = tuple(roles)
        self._env = dict(env or {})
        self._inherit_settings = inherit_settings
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._info: ConnectionInfo | None = None

    # -- what a client needs ------------------------------------------------------------------------------------------

    @property
    def info(self) -> ConnectionInfo:
        if self._info is None:
            raise RuntimeError("the engine has not been started")
        return self._info

    @property
    def grpc_address(self) -> str:
        return self.info.grpc_address

    @property
    def http_url(self) -> str:
        return self.info.http_url

    @property
    def token(self) -> str:
        return self.info.token

    @property
    def database_url(self) -> str:
        return self.info.database_url

    @property
    def pid(self) -> int:
        return self.info.pid

    @property
    def client_env(self) -> dict[str, str]:
        """The environment that points the SDK and the command line at this engine."""
        return {
            "TREADLE_TOKEN": self.token,
            "TREADLE_URL": self.grpc_address,
            "TREADLE_DATA_DIR": str(self.data_dir),
        }

    # -- start ----------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the engine and wait until it is ready for work."""
        if self.is_running():
            raise RuntimeError("the engine is running already")
        # As root the embedded database runs as another user, which has to pass through this folder.
        self.data_dir.mkdir(mode=0o700 if os.geteuid() else 0o711, parents=True, exist_ok=True)
        # A killed engine leaves its ready file behind: it must not be taken for the new one's.
        self._ready_file.unlink(missing_ok=True)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own arguments
                self._command(),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal of a test run must not reach the engine: the test stops it.
                start_new_session=True,
            )
        try:
            self._info = self._wait_until_ready(self._process)
        except BaseException:
            self.kill()
            raise
        self._grpc_port = int(self._info.grpc_address.rpartition(":")[2])
        if self._info.http_url:
            self._http_port = int(self._info.http_url.rstrip("/").rpartition(":")[2])
        return self

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "treadle.cli", "serve"]
        command += ["--data-dir", str(self.data_dir), "--ready-file", str(self._ready_file)]
        if self._grpc_port is not None:
            command += ["--grpc-port", str(self._grpc_port)]
        if self._http_port is not None:
            command += ["--http-port", str(self._http_port)]
        if self._database_url is not None:
            command += ["--database-url", self._database_url]
        if self._roles:
            command += ["--roles", ",".join(self._roles)]
        return command

    def _environment(self) -> dict[str, str]:
        mine = {
            name: value
            for name, value in os.environ.items()
            if self._inherit_settings or not name.startswith("TREADLE_")
        }
        return mine | self._env

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> ConnectionInfo:
        deadline = time.monotonic() + self._start_timeout
        while time.monotonic() < deadline:
            info = read_connection(self._ready_file)
            if info is not None:
                return info
            if process.poll() is not None:
                raise EngineStartError(f"the engine ended with code {process.returncode}:\n{self.log_tail()}")
            time.sleep(_POLL_SECONDS)
        raise EngineStartError(f"the engine was not ready in {self._start_timeout:g} s:\n{self.log_tail()}")

    def log_tail(self, size: int = _TAIL_BYTES) -> str:
        """The last bytes of the engine's log."""
        try:
            with self.log_file.open("rb") as log:
                _seek_to_tail(log, size)
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return "(no log)"

    # -- end ------------------------------------------------------------------------------------------------------------

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the process to end; its exit code, negative for a signal."""
        if self._process is None:
            raise RuntimeError("the engine has not been started")
        return self._process.wait(timeout)

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.is_running():
            self._process.send_signal(number)

    def kill(self) -> None:
        """End the engine at once with SIGKILL, as a crash would. Its embedded database goes on running."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def terminate(self, timeout: float = 30.0) -> int:
        """Ask the engine to stop and wait for it; kill it, and raise TimeoutError, when it does not. The exit code."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"the engine did not stop in {timeout:g} s:\n{self.log_tail()}") from None

    def restart(self) -> Self:
        """Start again on the same data folder and the same ports, after ending the engine if it still runs."""
        if self.is_running():
            self.terminate()
        return self.start()

    def close(self) -> None:
        """Leave nothing running: neither the engine nor the database that a killed engine left behind."""
        if self.is_running():
            self.terminate()
        elif self._process is not None and self._database_url is None:
            self._stop_orphaned_database()

    def _stop_orphaned_database(self) -> None:
        from treadle.storage.embedded import EmbeddedPostgres  # noqa: PLC0415 - only where there is an engine

        EmbeddedPostgres(self.data_dir).stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)


def _seek_to_tail(file: IO[bytes], size: int) -> None:
    with contextlib.suppress(OSError):
        file.seek(-size, os.SEEK_END)
