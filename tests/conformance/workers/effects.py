"""What the tasks of a worker process did, told to the test through files: a second account, past the engine.

Each mark (a name a test makes up) has one file of lines. A mark is also a gate: a task waits at it until the test
opens it. Times are monotonic seconds of this machine, comparable between processes.
"""

import asyncio
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EFFECTS_VARIABLE = "CONFORMANCE_EFFECTS"
_LOOK_AGAIN = 0.02  # seconds between two looks at a gate


@dataclass(frozen=True, slots=True)
class Effect:
    event: str
    at: float
    facts: dict[str, Any]


class Effects:
    """The two ends of the account: `record` and the waits in the worker, `read` and `open` in the test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @classmethod
    def of_this_process(cls) -> "Effects":
        return cls(Path(os.environ[EFFECTS_VARIABLE]))

    def record(self, mark: str, event: str, **facts: object) -> None:
        line = json.dumps({"event": event, "at": time.monotonic(), "facts": facts}) + "\n"
        # One short write in append mode: lines of different threads and processes do not mix.
        file = os.open(self._directory / f"{mark}.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)

    def read(self, mark: str, event: str | None = None) -> list[Effect]:
        try:
            lines = (self._directory / f"{mark}.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        effects = [Effect(**json.loads(line)) for line in lines]
        return [effect for effect in effects if event is None or effect.event == event]

    def open(self, gate: str) -> None:
        (self._directory / f"{gate}.open").touch()

    def is_open(self, gate: str) -> bool:
        return (self._directory / f"{gate}.open").exists()

    async def wait(self, gate: str) -> None:
        while not self.is_open(gate):  # noqa: ASYNC110 - the one who opens it is another process
            await asyncio.sleep(_LOOK_AGAIN)
