"""Workers and clients of the official SDK, pointed at an engine of ours."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from hatchet_sdk import Hatchet
from hatchet_sdk.config import ClientConfig, ClientTLSConfig

from tests.conformance.workers.basic import SLOTS_VARIABLE
from tests.conformance.workers.effects import EFFECTS_VARIABLE, Effects
from treadle.testing.engine import EngineProcess

BASIC = "tests.conformance.workers.basic"
FLOWS = "tests.conformance.workers.flows"
_REPOSITORY = Path(__file__).parents[2]
_READY = "waiting for tasks..."
_READY_SECONDS = 45.0
_LOOK_AGAIN = 0.05


class WorkerProcess:
    """A worker script in a process of its own, with its children in one session. Its output goes to `log_file`.

    It runs in an empty folder: the SDK would read `.env` files there.
    """

    def __init__(self, module: str, folder: Path, environment: Mapping[str, str]) -> None:
        self._command = [sys.executable, "-m", module]
        self._environment = dict(environment)
        self._folder = folder
        self.log_file = folder / "worker.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def wait_until_ready(self, seconds: float = _READY_SECONDS) -> Self:
        """All of its workflows are registered. It may still be a moment from its first task."""
        deadline = time.monotonic() + seconds
        while _READY not in self.log():
            if self.exit_code() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the worker is not ready:\n{self.log()[-8000:]}")
            time.sleep(_LOOK_AGAIN)
        return self

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def ask_to_stop(self) -> None:
        """SIGTERM to the worker itself; it tells its child."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker did not end in {seconds:g} s:\n{self.log()[-8000:]}") from None

    def kill(self) -> None:
        """SIGKILL to the worker and to its children."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self.start().wait_until_ready()

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


@dataclass(frozen=True, slots=True)
class Lab:
    """One engine, and a folder where its workers tell what they did."""

    engine: EngineProcess
    folder: Path

    @property
    def effects(self) -> Effects:
        return Effects(self._effects_folder())

    def _effects_folder(self) -> Path:
        folder = self.folder / "effects"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def hatchet(self, namespace: str = "") -> Hatchet:
        """A client in this process. The token alone says where the engine is."""
        config = ClientConfig(
            _env_file=None,
            token=self.engine.token,
            namespace=namespace,
            tls_config=ClientTLSConfig(_env_file=None, strategy="none"),
        )
        return Hatchet(config=config)

    def worker(
        self,
        module: str = BASIC,
        *,
        namespace: str = "",
        slots: int = 100,
        env: Mapping[str, str] | None = None,
    ) -> WorkerProcess:
        """A worker to start. Workers of different namespaces share nothing but the engine."""
        environment = {
            **dict(_without_settings_of_the_sdk(os.environ.items())),
            "PYTHONPATH": str(_REPOSITORY),
            "PYTHONUNBUFFERED": "1",
            "HATCHET_CLIENT_TOKEN": self.engine.token,
            "HATCHET_CLIENT_HOST_PORT": self.engine.grpc_address,
            "HATCHET_CLIENT_TLS_STRATEGY": "none",
            "HATCHET_CLIENT_NAMESPACE": namespace,
            EFFECTS_VARIABLE: str(self._effects_folder()),
            SLOTS_VARIABLE: str(slots),
            **(env or {}),
        }
        name = f"{module.rpartition('.')[2]}-{namespace or 'main'}-{time.monotonic_ns()}"
        return WorkerProcess(module, self.folder / "workers" / name, environment)


def _without_settings_of_the_sdk(variables: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    return ((name, value) for name, value in variables if not name.startswith(("HATCHET_", "TREADLE_")))
