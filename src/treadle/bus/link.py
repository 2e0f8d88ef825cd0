"""The way to the engine that owns a tenant: commands go out, answers, deliveries and ends come back."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING

import grpc
import structlog

from treadle.bus.messages import attempt_from, kinds_in, request_from
from treadle.engine.commands import (
    Cancel,
    Command,
    Push,
    RefreshTimeout,
    ReleaseSlot,
    Replay,
    Report,
    Stale,
    WorkerChanged,
    WorkerJoined,
    resolve,
)
from treadle.engine.ports import Ended, StopReason
from treadle.model.errors import TreadleError, Unavailable
from treadle.model.states import RunStatus
from treadle.wire.gen.treadle.internal.v1 import engines_pb2 as pb
from treadle.wire.status import error_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from treadle.engine.catalog import Catalog
    from treadle.engine.ports import WorkerPort

_log = structlog.get_logger()

PATH = "/treadle.internal.v1.Engines/Link"
_BOUND = 20_000


class Link:
    """A stream to one engine.

    Args:
        address: its host:port.
        token: what engines show each other.
        catalog: registered task kinds.
        tell_ended: told of runs that have ended there.
        broken: called when the link has ended.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str,
        catalog: Catalog,
        tell_ended: Callable[[list[Ended]], None],
        broken: Callable[[Link], None],
    ) -> None:
        self.address = address
        self.tenant_ids: set[int] = set()
        self._token = token
        self._catalog = catalog
        self._tell_ended = tell_ended
        self._broken = broken
        self._numbers = count(1)
        self._pending: dict[int, Command] = {}
        self._ports: dict[str, tuple[int, WorkerPort]] = {}
        self._outgoing: asyncio.Queue[pb.Request] = asyncio.Queue(_BOUND)
        self._closed = False
        self._task = asyncio.create_task(self._run(), name=f"link to {address}")

    def send(self, command: Command, tenant_id: int) -> None:
        """Pass a command on.

        Raises:
            Unavailable: the link has ended, or too much waits in it.
        """
        if self._closed or self._outgoing.full():
            raise Unavailable("engine", "the one that owns this tenant cannot be reached; try again")
        self.tenant_ids.add(tenant_id)
        number = 0
        match command:
            case Report() | Cancel() | Replay() | RefreshTimeout() | ReleaseSlot() | Push():
                number = next(self._numbers)
                self._pending[number] = command
            case WorkerJoined():
                self._ports[command.worker_id] = (tenant_id, command.port)
            case WorkerChanged() if command.gone:
                if self._port(command.worker_id) is not command.port:
                    # The worker has opened another stream since: that one goes on.
                    return
                del self._ports[command.worker_id]
            case _:
                pass
        self._outgoing.put_nowait(request_from(command, number, tenant_id))

    def leave(self, tenant_id: int) -> None:
        """This tenant has another owner now: its workers open their streams anew, and are passed on to that one.

        What was asked for the tenant over this link is still answered over it.
        """
        self.tenant_ids.discard(tenant_id)
        for worker_id, (their_tenant, port) in list(self._ports.items()):
            if their_tenant == tenant_id:
                del self._ports[worker_id]
                port.close()

    def await_ends(self, tenant_id: int, task_ids: list[str]) -> None:
        """Ask to be told when these runs end."""
        if not self._closed and not self._outgoing.full():
            self.tenant_ids.add(tenant_id)
            request = pb.Request(tenant_id=tenant_id)
            request.watch.ids.extend(task_ids)
            self._outgoing.put_nowait(request)

    def cancel(self) -> None:
        """End the link soon."""
        self._closed = True
        self._task.cancel()

    async def close(self) -> None:
        """End the link."""
        self.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.keepalive_time_ms", 5_000),
            ("grpc.keepalive_timeout_ms", 3_000),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        try:
            async with grpc.aio.insecure_channel(self.address, options=options) as channel:
                responses = channel.stream_stream(
                    PATH, request_serializer=pb.Request.SerializeToString, response_deserializer=pb.Response.FromString
                )(self._requests(), metadata=(("authorization", f"bearer {self._token}"),))
                async for response in responses:
                    await self._take(response)
        except (grpc.RpcError, TreadleError) as problem:
            _log.debug("a link between engines broke", address=self.address, problem=str(problem))
        finally:
            self._end()

    async def _requests(self) -> AsyncIterator[pb.Request]:
        while True:
            yield await self._outgoing.get()

    async def _take(self, response: pb.Response) -> None:
        await kinds_in(response, self._catalog)
        for answer in response.answers:
            self._answer(answer)
        for group in response.deliveries:
            port = self._port(group.worker_id)
            if port is not None:
                port.deliver(
                    [attempt_from(entry, self._catalog.kind(entry.version, entry.step)) for entry in group.deliveries]
                )
        for stop in response.stops:
            port = self._port(stop.worker_id)
            if port is not None:
                port.stop(stop.task_id, stop.attempt, StopReason(stop.reason))
        for worker_id in response.closed:
            port = self._port(worker_id)
            if port is not None:
                port.close()
        if response.ended:
            self._tell_ended([self._ended(entry) for entry in response.ended])

    def _port(self, worker_id: str) -> WorkerPort | None:
        known = self._ports.get(worker_id)
        return None if known is None else known[1]

    def _ended(self, entry: pb.Ended) -> Ended:
        return Ended(
            self._catalog.kind(entry.version, entry.step),
            entry.task_id,
            0,
            RunStatus(entry.status),
            0,
            None,
            None,
            None,
            entry.error if entry.HasField("error") else None,
            entry.output if entry.HasField("output") else None,
            entry.run_id if entry.HasField("run_id") else None,
        )

    def _answer(self, answer: pb.Answer) -> None:
        command = self._pending.pop(answer.number, None)
        if command is None:
            return
        if answer.code:
            command.fail(error_of(answer.code, answer.field, answer.message))
            return
        match command:
            case Report():
                command.answer(
                    [(entry.task_id, entry.attempt) for entry in answer.settled],
                    [Stale(entry.task_id, entry.attempt, StopReason(entry.reason)) for entry in answer.stale],
                    None,
                )
            case Cancel() | Replay():
                resolve(command.future, list(answer.ids))
            case Push():
                command.answer(
                    [
                        error_of(entry.code, entry.field, entry.message) if entry.code else entry.id
                        for entry in answer.outcomes
                    ]
                )
            case RefreshTimeout():
                resolve(command.future, answer.until)
            case ReleaseSlot():
                resolve(command.future, None)
            case _:
                raise AssertionError(command)

    def _end(self) -> None:
        """Nothing more comes over this link: callers try again, workers open their streams anew."""
        self._closed = True
        pending, self._pending = self._pending, {}
        for command in pending.values():
            command.fail(Unavailable("engine", "the one that owns this tenant went away; try again"))
        ports, self._ports = self._ports, {}
        for _, port in ports.values():
            port.close()
        self._broken(self)
