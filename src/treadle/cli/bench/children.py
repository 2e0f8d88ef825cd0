"""Processes that the benchmark starts: workers, and the client that takes orders."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from treadle.cli.exits import CommandError, Exit

_END_SECONDS = 10.0


class Child:
    """A process of our own that ends when told to."""

    def __init__(self, command: list[str], env: Mapping[str, str], *, talks: bool = False) -> None:
        pipe = subprocess.PIPE if talks else None
        # What a child prints besides is for the person who watches, not part of the report on stdout.
        self.process = subprocess.Popen(  # noqa: S603 - our own modules
            command,
            env=dict(env),
            stdin=pipe or subprocess.DEVNULL,
            stdout=pipe or sys.stderr,
            stderr=None,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def end(self) -> None:
        """Ask it to end, and wait; kill it when it does not. Idempotent."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class ClientChild(Child):
    """The client: takes an order, answers when it is done."""

    def __init__(self, env: Mapping[str, str]) -> None:
        super().__init__([sys.executable, "-m", "treadle.cli.bench.client"], env, talks=True)

    def tell(self, do: str, **order: Any) -> None:
        assert self.process.stdin is not None  # noqa: S101 - it talks
        self.process.stdin.write(json.dumps({"do": do, **order}).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The answer to the last order; an SDK may print things of its own before it."""
        assert self.process.stdout is not None  # noqa: S101 - it talks
        for line in self.process.stdout:
            if line.startswith(b"{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise CommandError(Exit.RUN_FAILED, f"the client ended before its work was done (code {self.process.wait()})")

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        self.tell(do, **order)
        return self.hear()
