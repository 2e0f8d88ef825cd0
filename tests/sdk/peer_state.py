"""What the scripted engine remembers: runs, and the streams of workers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from treadle.wire.gen.treadle.v1 import runs_pb2, worker_pb2

Key = tuple[str, int]


@dataclass
class PeerRun:
    """A run the peer knows."""

    id: str
    new: runs_pb2.NewRun
    status: int = runs_pb2.RUN_STATUS_QUEUED
    attempt: int = 1
    retries_used: int = 0
    output: bytes = b""
    error: str = ""
    failures: list[worker_pb2.Failure] = field(default_factory=list)
    tasks: list[runs_pb2.TaskResult] = field(default_factory=list)
    waiters: list[asyncio.Queue[runs_pb2.RunResult]] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.status >= runs_pb2.RUN_STATUS_COMPLETED

    def result(self) -> runs_pb2.RunResult:
        return runs_pb2.RunResult(
            run_id=self.id,
            status=self.status,  # type: ignore[arg-type] # a plain number
            output=self.output,
            error=self.error,
            tasks=self.tasks,
        )


class PeerSession:
    """One stream of a worker."""

    def __init__(self, hello: worker_pb2.Hello) -> None:
        self.hello = hello
        self.worker_id = ""
        self.free = sum(hello.slots.values())
        self.out: asyncio.Queue[worker_pb2.EngineFrame | None] = asyncio.Queue()
        self.frames: list[worker_pb2.WorkerFrame] = []
        self.draining = False
        self.half_closed = False
        self.in_hand: dict[Key, PeerRun] = {}

    def send(self, **parts: Any) -> None:
        self.out.put_nowait(worker_pb2.EngineFrame(**parts))
