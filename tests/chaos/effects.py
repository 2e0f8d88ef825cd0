"""What workers did, written by themselves: one append-only file a process, outside the system under test.

Each line is one `write` to a file opened with O_APPEND, so it survives a SIGKILL of the process and is never torn.
"""

import os
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Mark(StrEnum):
    """What a line tells: the task's code began, took effect, or was told to stop."""

    START = "start"
    EFFECT = "effect"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class EffectLine:
    """One line of a worker's file. `nonce` names this execution, and is part of what the task returns."""

    mark: Mark
    task_id: str
    attempt: int
    at_ns: int
    nonce: str


class EffectLog:
    """Write lines to `<folder>/<process id>.effects`."""

    def __init__(self, folder: Path) -> None:
        path = folder / f"{os.getpid()}.effects"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, mark: Mark, task_id: str, attempt: int, nonce: str) -> None:
        line = f"{mark} {task_id} {attempt} {time.monotonic_ns()} {nonce}\n"
        os.write(self._file, line.encode())


def read_effects(folder: Path) -> list[EffectLine]:
    """The lines of all workers, in the order of the machine's monotonic clock."""
    lines = [_parse(text) for file in folder.glob("*.effects") for text in file.read_text().splitlines()]
    return sorted(lines, key=lambda line: line.at_ns)


def count_bytes(folder: Path) -> int:
    """How much the workers have written: a cheap measure of their progress."""
    return sum(file.stat().st_size for file in folder.glob("*.effects"))


def _parse(text: str) -> EffectLine:
    mark, task_id, attempt, at_ns, nonce = text.split(" ")
    return EffectLine(Mark(mark), task_id, int(attempt), int(at_ns), nonce)
