"""A small engine for tests of the SDK: a real gRPC server on a socket, with its state in memory.

It does what the tests need of `treadle.v1` and no more: no database, no timers. Tests can hold back its answers, break
its streams, and read every frame it got.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
import grpc.aio

from tests.sdk.peer_state import PeerRun, PeerSession
from treadle.sdk.io import io_thread
from treadle.wire.contract import METHODS
from treadle.wire.gen.hatchet import dispatcher_pb2
from treadle.wire.gen.hatchet.v1 import workflows_pb2
from treadle.wire.gen.treadle.v1 import events_pb2, runs_pb2, worker_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from types import TracebackType

    from google.protobuf.message import Message

T = TypeVar("T")

TOKEN = "peer-token"

_OPTIONS = [
    ("grpc.so_reuseport", 0),
    # Clients ping every 10 s, also while nothing happens.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
]


class PeerEngine:
    """The engine. Use as a context manager; `call` runs code on its loop."""

    def __init__(
        self, port: int = 0, *, max_message_bytes: int = 0, canary_ms: int = 1000, lost_ms: int = 60_000
    ) -> None:
        self.port = port
        self.max_message_bytes = max_message_bytes
        self.canary_ms = canary_ms
        self.lost_ms = lost_ms
        self.definitions: dict[str, workflows_pb2.CreateWorkflowVersionRequest] = {}
        self.puts = 0
        self.runs: dict[str, PeerRun] = {}
        self.queue: deque[PeerRun] = deque()
        self.sessions: list[PeerSession] = []
        self.ended_sessions: list[PeerSession] = []
        self.start_requests: list[runs_pb2.StartRequest] = []
        self.unary: list[tuple[str, Message]] = []
        self.abort_next: dict[str, list[tuple[grpc.StatusCode, str]]] = {}
        self.hold_starts: asyncio.Event | None = None
        self.settle = True
        self.forget_workers = False
        self._ids = itertools.count(1)
        self._worker_ids = itertools.count(1)
        self._known_workers: set[str] = set()
        # The loop of the SDK serves the peer too: it is there anyway, and never blocked by a test.
        self._loop = io_thread().loop
        self._server: grpc.aio.Server | None = None

    # -- life ----------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    async def _up(self) -> None:
        self._server = server = grpc.aio.server(options=_OPTIONS)
        handlers: dict[str, Any] = {
            "/v1.AdminService/PutWorkflow": self._put,
            "/treadle.v1.Runs/Start": self._start,
            "/treadle.v1.Runs/Get": self._get,
            "/treadle.v1.Runs/Cancel": self._cancel,
            "/treadle.v1.Runs/Replay": self._replay,
            "/treadle.v1.Events/Push": self._push,
            "/treadle.v1.Runs/Await": self._await,
            "/treadle.v1.Worker/Session": self._session,
            "/Dispatcher/RefreshTimeout": self._refresh,
            "/Dispatcher/ReleaseSlot": self._release,
        }
        for path, handler in handlers.items():
            method = METHODS[path]
            make = getattr(
                grpc,
                f"{'stream' if method.client_streaming else 'unary'}_"
                f"{'stream' if method.server_streaming else 'unary'}_rpc_method_handler",
            )
            _, service, name = path.split("/")
            rpc = make(
                self._guarded(path, handler, streaming=method.server_streaming),
                request_deserializer=method.request_class.FromString,
                response_serializer=method.response_class.SerializeToString,
            )
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: rpc}),))
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()

    def _guarded(self, path: str, handler: Any, *, streaming: bool) -> Any:
        async def check(context: grpc.aio.ServicerContext[Any, Any]) -> None:
            if dict(context.invocation_metadata() or ()).get("authorization") != f"bearer {TOKEN}":
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, "token: unknown")
            if queue := self.abort_next.get(path):
                await context.abort(*queue.pop(0))

        if streaming:

            async def stream(requests: Any, context: Any) -> AsyncIterator[Message]:
                await check(context)
                async for message in handler(requests, context):
                    yield message

            return stream

        async def unary(request: Any, context: Any) -> Any:
            await check(context)
            return await handler(request)

        return unary

    def call(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the peer's loop, from a test."""
        return asyncio.run_coroutine_threadsafe(function(), self._loop).result(20)

    def do(self, function: Callable[[], T]) -> T:
        """Run a plain function on the peer's loop, from a test."""

        async def run() -> T:
            return function()

        return self.call(run)

    def down(self) -> None:
        """Stop serving at once; the state stays."""

        async def stop() -> None:
            for session in self.sessions:
                session.out.put_nowait(None)
            if self._server is not None:
                await self._server.stop(0)
                self._server = None

        self.call(stop)

    def up(self) -> None:
        """Serve again, on the same port."""
        self.call(self._up)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    # -- the runs service ----------------------------------------------------------------------------------------------

    async def _put(self, request: workflows_pb2.CreateWorkflowVersionRequest) -> Message:
        self.puts += 1
        self.definitions[request.name] = request
        return workflows_pb2.CreateWorkflowVersionResponse(id="v", workflow_id="w")

    async def _start(self, request: runs_pb2.StartRequest) -> runs_pb2.StartResponse:
        self.start_requests.append(request)
        if self.hold_starts is not None:
            await self.hold_starts.wait()
        response = runs_pb2.StartResponse()
        for new in request.runs:
            if new.task.startswith("unknown"):
                problem = runs_pb2.Problem(code=5, field="task", message=f"{new.task} is not registered")
                response.outcomes.add(problem=problem)
                continue
            run = PeerRun(f"{next(self._ids):08x}-0000-7000-8000-000000000000", new)
            self.runs[run.id] = run
            self.queue.append(run)
            response.outcomes.add(run_id=run.id)
        self._assign()
        if request.ids_suffice and all(outcome.HasField("run_id") for outcome in response.outcomes):
            return runs_pb2.StartResponse(run_ids=[outcome.run_id for outcome in response.outcomes])
        return response

    async def _get(self, request: runs_pb2.GetRunRequest) -> runs_pb2.RunDetail:
        run = self.runs[request.id]
        summary = runs_pb2.RunSummary(id=run.id, task=run.new.task, status=run.status)  # type: ignore[arg-type] # a plain number
        return runs_pb2.RunDetail(run=summary, tasks=run.tasks)

    async def _cancel(self, request: runs_pb2.SelectRuns) -> runs_pb2.ChangedRuns:
        self.unary.append(("cancel", request))
        changed = [run_id for run_id in request.ids if self.cancel_run(self.runs[run_id])]
        return runs_pb2.ChangedRuns(ids=changed)

    async def _replay(self, request: runs_pb2.SelectRuns) -> runs_pb2.ChangedRuns:
        self.unary.append(("replay", request))
        return runs_pb2.ChangedRuns(ids=request.ids)

    async def _push(self, request: events_pb2.PushRequest) -> events_pb2.PushResponse:
        self.unary.append(("push", request))
        response = events_pb2.PushResponse()
        for event in request.events:
            if event.key.startswith("refused"):
                response.outcomes.add(problem=runs_pb2.Problem(code=3, field="key", message="is not wanted"))
            else:
                response.outcomes.add(event_id=f"event-{event.key}")
        return response

    async def _refresh(self, request: dispatcher_pb2.RefreshTimeoutRequest) -> Message:
        self.unary.append(("refresh", request))
        response = dispatcher_pb2.RefreshTimeoutResponse()
        response.timeout_at.seconds = 1_800_000_000
        return response

    async def _release(self, request: dispatcher_pb2.ReleaseSlotRequest) -> Message:
        self.unary.append(("release", request))
        return dispatcher_pb2.ReleaseSlotResponse()

    async def _await(self, requests: AsyncIterator[runs_pb2.AwaitRequest], _: Any) -> AsyncIterator[Message]:
        results: asyncio.Queue[runs_pb2.RunResult] = asyncio.Queue()

        async def read() -> None:
            async for request in requests:
                for run_id in request.run_ids:
                    run = self.runs.get(run_id)
                    if run is None:
                        results.put_nowait(runs_pb2.RunResult(run_id=run_id, not_found=True))
                    elif run.ended:
                        results.put_nowait(run.result())
                    else:
                        run.waiters.append(results)

        reader = asyncio.ensure_future(read())
        try:
            while True:
                batch = [await results.get()]
                while not results.empty():
                    batch.append(results.get_nowait())
                yield runs_pb2.AwaitResponse(results=batch)
        finally:
            reader.cancel()

    def end_run(self, run: PeerRun, status: int, *, output: bytes = b"", error: str = "") -> None:
        run.status, run.output, run.error = status, output, error
        for waiter in run.waiters:
            waiter.put_nowait(run.result())
        run.waiters.clear()

    def cancel_run(self, run: PeerRun, reason: int = worker_pb2.CANCEL_REASON_CANCELLED) -> bool:
        if run.ended:
            return False
        self.end_run(run, runs_pb2.RUN_STATUS_CANCELLED)
        if run in self.queue:
            self.queue.remove(run)
        for session in self.sessions:
            if (run.id, run.attempt) in session.in_hand:
                session.send(cancels=[worker_pb2.Cancel(task_id=run.id, attempt=run.attempt, reason=reason)])  # type: ignore[arg-type] # a plain number
        return True

    # -- sessions ------------------------------------------------------------------------------------------------------

    def _assign(self) -> None:
        for session in self.sessions:
            deliveries = []
            while self.queue and session.free and not session.draining and not session.half_closed:
                run = self.queue.popleft()
                session.free -= 1
                session.in_hand[run.id, run.attempt] = run
                run.status = runs_pb2.RUN_STATUS_RUNNING
                deliveries.append(self._delivery(run))
            if deliveries:
                session.send(deliveries=deliveries)

    def _delivery(self, run: PeerRun) -> worker_pb2.Delivery:
        name = run.new.task.lower()
        return worker_pb2.Delivery(
            task_id=run.id,
            attempt=run.attempt,
            action=f"{name}:{name}",
            input=run.new.input,
            metadata=run.new.metadata,
            retries_used=run.retries_used,
            priority=run.new.priority or 1,
            parent_id=run.new.parent_task_id,
            timeout_ms=60_000,
            max_retries=self._retries(run),
        )

    def _retries(self, run: PeerRun) -> int:
        definition = self.definitions.get(run.new.task)
        return definition.tasks[0].retries if definition else 0

    async def _session(self, requests: Any, _: Any) -> AsyncIterator[worker_pb2.EngineFrame]:
        first: worker_pb2.WorkerFrame = await anext(aiter(requests))
        session = PeerSession(first.hello)
        known = first.hello.worker_id in self._known_workers and not self.forget_workers
        session.worker_id = first.hello.worker_id if known else f"worker-{next(self._worker_ids)}"
        self._known_workers.add(session.worker_id)
        for attempt in first.hello.in_hand:
            run = self.runs.get(attempt.task_id)
            if run is not None and run.attempt == attempt.attempt and not run.ended:
                session.in_hand[run.id, run.attempt] = run
                session.free -= 1
        session.send(
            welcome=worker_pb2.Welcome(
                worker_id=session.worker_id,
                engine_version="peer",
                canary_interval_ms=self.canary_ms,
                lost_after_ms=self.lost_ms,
                max_message_bytes=self.max_message_bytes,
            )
        )
        self.sessions.append(session)
        self._assign()
        reader = asyncio.ensure_future(self._read(session, requests))
        try:
            while (frame := await session.out.get()) is not None:
                yield frame
        finally:
            reader.cancel()
            self.sessions.remove(session)
            self.ended_sessions.append(session)

    async def _read(self, session: PeerSession, requests: AsyncIterator[worker_pb2.WorkerFrame]) -> None:
        async for frame in requests:
            session.frames.append(frame)
            session.draining = session.draining or frame.draining
            self._take(session, frame)
            self._assign()
        session.half_closed = True
        session.out.put_nowait(None)

    def _take(self, session: PeerSession, frame: worker_pb2.WorkerFrame) -> None:
        reports: list[worker_pb2.Completion | worker_pb2.Failure] = [*frame.completed, *frame.failed]
        for report in reports:
            self._report(session, report)
        for attempt in (*frame.handed_back, *frame.lost):
            if (run := session.in_hand.pop((attempt.task_id, attempt.attempt), None)) is not None:
                session.free += 1
                run.attempt += 1
                run.status = runs_pb2.RUN_STATUS_QUEUED
                self.queue.append(run)
        for attempt in frame.stopped:
            if session.in_hand.pop((attempt.task_id, attempt.attempt), None) is not None:
                session.free += 1
        if reports and self.settle:
            session.send(
                settled=[worker_pb2.Attempt(task_id=report.task_id, attempt=report.attempt) for report in reports]
            )

    def _report(self, session: PeerSession, report: worker_pb2.Completion | worker_pb2.Failure) -> None:
        run = session.in_hand.pop((report.task_id, report.attempt), None)
        if run is None:
            return
        session.free += 1
        if run.ended:
            return
        if isinstance(report, worker_pb2.Completion):
            self.end_run(run, runs_pb2.RUN_STATUS_COMPLETED, output=report.output)
            return
        run.failures.append(report)
        if report.should_not_retry or run.retries_used >= self._retries(run):
            self.end_run(run, runs_pb2.RUN_STATUS_FAILED, error=report.error)
        else:
            run.retries_used += 1
            run.attempt += 1
            self.queue.append(run)
