"""The wire by hand: a client and a worker that say exactly what a test tells them to."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import grpc
import grpc.aio

from tests.support.eventually import eventually
from treadle.model.ids import new_id
from treadle.model.states import TERMINAL, RunStatus
from treadle.wire.gen.hatchet.v1 import workflows_pb2
from treadle.wire.gen.treadle.v1 import runs_pb2, worker_pb2

LONG = 30.0
Attempts = Iterable[tuple[str, int]]


class Message(Protocol):
    """What all generated messages can do."""

    def SerializeToString(self) -> bytes: ...  # noqa: N802 - protobuf's name

    @classmethod
    def FromString(cls, data: bytes) -> Self: ...  # noqa: N802 - protobuf's name


Answer = TypeVar("Answer", bound=Message)


class RawClient:
    """Calls of both contracts, with one token."""

    def __init__(self, address: str, token: str) -> None:
        # A broken connection is tried again soon: the engine of these tests comes back within a second or two.
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
        self.channel = grpc.aio.insecure_channel(address, options=options)
        self.metadata = (("authorization", f"bearer {token}"),)

    async def call(self, path: str, request: Message, answer: type[Answer], *, within: float = LONG) -> Answer:
        """One unary call; it waits for the connection, and raises what the engine answers."""
        method = self.channel.unary_unary(
            path,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        answered: Answer = await method(request, metadata=self.metadata, wait_for_ready=True, timeout=within)
        return answered

    async def put_task(self, name: str, *, retries: int = 0, lasting: str = "5m") -> str:
        """Register a workflow of one task; its action."""
        action = f"{name}:{name}"
        task = workflows_pb2.CreateTaskOpts(
            readable_id=name, action=action, timeout=lasting, inputs="{}", retries=retries
        )
        request = workflows_pb2.CreateWorkflowVersionRequest(name=name, tasks=[task])
        await self.call("/v1.AdminService/PutWorkflow", request, workflows_pb2.CreateWorkflowVersionResponse)
        return action

    async def start(self, task: str, *inputs: str) -> list[str]:
        """Start one run for each input; their ids."""
        request = runs_pb2.StartRequest(runs=[runs_pb2.NewRun(task=task, input=text.encode()) for text in inputs])
        response = await self.call("/treadle.v1.Runs/Start", request, runs_pb2.StartResponse)
        return [outcome.run_id for outcome in response.outcomes]

    async def get(self, run_id: str) -> runs_pb2.RunDetail:
        request = runs_pb2.GetRunRequest(id=run_id)
        return await self.call("/treadle.v1.Runs/Get", request, runs_pb2.RunDetail)

    async def ended(self, run_id: str) -> tuple[RunStatus, bytes]:
        """Wait for the end of a run; its status and output."""

        async def end() -> tuple[RunStatus, bytes]:
            detail = await self.get(run_id)
            status = RunStatus(detail.run.status)
            assert status in TERMINAL
            return status, detail.output

        return await eventually(end)

    async def cancel(self, *run_ids: str) -> runs_pb2.ChangedRuns:
        request = runs_pb2.SelectRuns(ids=run_ids)
        return await self.call("/treadle.v1.Runs/Cancel", request, runs_pb2.ChangedRuns)

    async def close(self) -> None:
        await self.channel.close(None)


class RawWorker:
    """A worker session. Nothing is sent unless a test says so, but for the answers to canaries."""

    def __init__(self, client: RawClient, *, actions: Iterable[str], slots: int = 10) -> None:
        self._client = client
        self._actions = list(actions)
        self._slots = slots
        self._frames: list[worker_pb2.EngineFrame] = []
        self._arrived = asyncio.Condition()
        self._call: Any = None
        self._reader: asyncio.Task[None] | None = None
        self.worker_id = ""

    async def connect(self, *, in_hand: Attempts = ()) -> Self:
        """Open the session: as a new worker the first time, as the same one afterwards."""
        method: Any = self._client.channel.stream_stream(
            "/treadle.v1.Worker/Session",
            request_serializer=worker_pb2.WorkerFrame.SerializeToString,
            response_deserializer=worker_pb2.EngineFrame.FromString,
        )
        self._frames.clear()
        self._call = method(metadata=self._client.metadata, wait_for_ready=True)
        hello = worker_pb2.Hello(
            worker_id=self.worker_id,
            name="raw",
            actions=self._actions,
            slots={"default": self._slots},
            in_hand=_attempts(in_hand),
        )
        await self.send(worker_pb2.WorkerFrame(hello=hello))
        self._reader = asyncio.create_task(self._read())
        welcome = await self.expect(lambda frame: frame.welcome if frame.HasField("welcome") else None)
        self.worker_id = welcome.worker_id
        return self

    async def vanish(self) -> None:
        """Break the stream as a crash would."""
        if self._call is not None:
            self._call.cancel()
        if self._reader is not None:
            with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
                await self._reader
        self._call = self._reader = None

    async def send(self, frame: worker_pb2.WorkerFrame) -> None:
        await self._call.write(frame)

    async def complete(self, task_id: str, attempt: int, output: bytes = b"{}") -> None:
        completion = worker_pb2.Completion(task_id=task_id, attempt=attempt, output=output)
        await self.send(worker_pb2.WorkerFrame(completed=[completion]))

    async def delivered(self, task_id: str, *, attempt: int | None = None) -> worker_pb2.Delivery:
        """Wait for a delivery of the task, and keep quiet about it."""

        def find(frame: worker_pb2.EngineFrame) -> worker_pb2.Delivery | None:
            mine = (each for each in frame.deliveries if each.task_id == task_id)
            return next((each for each in mine if attempt in (None, each.attempt)), None)

        return await self.expect(find)

    async def receive(self, task_id: str, *, attempt: int | None = None) -> worker_pb2.Delivery:
        """Wait for a delivery of the task and acknowledge it."""
        delivery = await self.delivered(task_id, attempt=attempt)
        received = _attempts([(delivery.task_id, delivery.attempt)])
        await self.send(worker_pb2.WorkerFrame(received=received))
        return delivery

    async def settled(self, task_id: str, attempt: int) -> None:
        """Wait until the engine has settled a report."""
        await self.expect(lambda frame: _find(frame.settled, task_id, attempt))

    async def barrier(self) -> None:
        """Wait until the engine has dealt with all that was sent before: reports take effect in order."""
        nothing = new_id()
        await self.complete(nothing, 1)
        await self.settled(nothing, 1)

    async def cancelled(self, task_id: str, attempt: int) -> worker_pb2.Cancel:
        """Wait until the engine tells this worker to stop an attempt."""
        return await self.expect(lambda frame: _find(frame.cancels, task_id, attempt))

    async def expect(self, find: "Callable[[worker_pb2.EngineFrame], Found | None]") -> "Found":
        """The first thing found in a frame of this connection, now or later."""
        async with asyncio.timeout(LONG), self._arrived:
            while True:
                for frame in self._frames:
                    if (found := find(frame)) is not None:
                        return found
                if self._reader is None or self._reader.done():
                    raise ConnectionError(f"the session ended: {self._call}")
                await self._arrived.wait()

    def seen(self, find: "Callable[[worker_pb2.EngineFrame], Found | None]") -> "list[Found]":
        """All things found in the frames of this connection so far."""
        return [found for frame in self._frames if (found := find(frame)) is not None]

    async def _read(self) -> None:
        try:
            async for frame in self._call:
                if frame.canary and not self._call.done():
                    heartbeat = worker_pb2.Heartbeat(canary=frame.canary)
                    await self.send(worker_pb2.WorkerFrame(heartbeat=heartbeat))
                async with self._arrived:
                    self._frames.append(frame)
                    self._arrived.notify_all()
        finally:
            async with self._arrived:
                self._arrived.notify_all()

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.vanish()


Found = TypeVar("Found")
Named = TypeVar("Named", worker_pb2.Attempt, worker_pb2.Cancel)


def _attempts(pairs: Attempts) -> list[worker_pb2.Attempt]:
    return [worker_pb2.Attempt(task_id=task_id, attempt=attempt) for task_id, attempt in pairs]


def _find(items: Iterable[Named], task_id: str, attempt: int) -> Named | None:
    return next((item for item in items if (item.task_id, item.attempt) == (task_id, attempt)), None)
