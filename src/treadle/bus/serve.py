"""The owner's side of a link: commands of other engines' workers and clients go into the loop's inbox."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from treadle.bus.link import PATH
from treadle.bus.messages import delivery_from, events_from, fill_report
from treadle.engine.commands import (
    Cancel,
    Command,
    Push,
    Redeliver,
    RefreshTimeout,
    ReleaseSlot,
    Replay,
    Report,
    WorkerChanged,
    WorkerJoined,
    WorkerLost,
)
from treadle.model.errors import Exhausted, TreadleError, Unavailable
from treadle.wire.gen.treadle.internal.v1 import engines_pb2 as pb
from treadle.wire.status import code_number

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from typing import Protocol

    from treadle.engine.attempt import Attempt
    from treadle.engine.commands import AttemptKey, Stale
    from treadle.engine.inbox import Door
    from treadle.engine.ports import Ended, StopReason
    from treadle.wire.serving import Caller, Handlers, Stream

    class EndsAudience(Protocol):
        """Where one can wait for the ends of runs."""

        def wait_for(self, tenant_id: int, task_ids: Iterable[str], waiter: Peer) -> None: ...

        def stop_waiting(self, tenant_id: int, task_ids: Iterable[str], waiter: Peer) -> None: ...


_T = TypeVar("_T")
_MAX_AWAITED = 500_000


class Peer:
    """One engine on the other side of a link: what is to be told to it goes into its next message."""

    # The other engine reads the tasks of a workflow run from the tables, if anyone there wants them.
    wants_steps = False

    def __init__(self) -> None:
        self.workers: dict[str, tuple[int, RemotePort]] = {}
        self.awaited: dict[str, int] = {}
        self.response = pb.Response()
        self.filled = asyncio.Event()
        self.closed = False

    def ended(self, ended: Ended, steps: Sequence[object] = ()) -> None:
        """A run that the other engine asked about has ended."""
        del steps
        self.awaited.pop(ended.task_id, None)
        self.response.ended.append(
            pb.Ended(
                task_id=ended.task_id,
                version=ended.kind.version,
                step=ended.kind.step,
                status=int(ended.status),
                error=ended.error,
                output=ended.output,
                run_id=ended.run_id,
            )
        )
        self.filled.set()

    def unknown(self, task_id: str) -> None:
        """The other engine finds out by itself."""
        self.awaited.pop(task_id, None)

    def answer(self, answer: pb.Answer) -> None:
        """Answer a request."""
        if answer.number:
            self.response.answers.append(answer)
            self.filled.set()


class RemotePort:
    """A worker that is connected to the other engine."""

    def __init__(self, worker_id: str, peer: Peer) -> None:
        self._worker_id = worker_id
        self._peer = peer

    def deliver(self, attempts: Sequence[Attempt]) -> None:
        """Send attempts to be run."""
        self._peer.response.deliveries.append(
            pb.Deliveries(worker_id=self._worker_id, deliveries=[delivery_from(attempt) for attempt in attempts])
        )
        self._peer.filled.set()

    def stop(self, task_id: str, attempt: int, reason: StopReason) -> None:
        """Tell the worker to stop an attempt."""
        self._peer.response.stops.append(
            pb.Stop(worker_id=self._worker_id, task_id=task_id, attempt=attempt, reason=int(reason))
        )
        self._peer.filled.set()

    def close(self) -> None:
        """Close the worker's stream."""
        self._peer.response.closed.append(self._worker_id)
        self._peer.filled.set()


class Links:
    """Serves links of other engines.

    Args:
        inbox: the loop.
        audience: where ends are told.
        owned: whether this engine owns a tenant.
        connected: whether a worker has a stream at any engine, as far as the loop knows.
        met: a worker is connected elsewhere, where it is watched.
        missed: workers whose engine has gone, with their tenants: they are to be watched here.
    """

    def __init__(
        self,
        *,
        inbox: Door,
        audience: EndsAudience,
        owned: Callable[[int], bool],
        connected: Callable[[str], bool],
        met: Callable[[str], None],
        missed: Callable[[dict[str, int]], None],
    ) -> None:
        self._inbox = inbox
        self._audience = audience
        self._owned = owned
        self._connected = connected
        self._met = met
        self._missed = missed
        self._peers: set[Peer] = set()

    def handlers(self) -> Handlers:
        """What this module serves."""
        return {PATH: self.link}

    def serve_worker(self, worker_id: str) -> bool:
        """Whether a worker is connected to another engine, which watches it."""
        return any(worker_id in peer.workers for peer in self._peers)

    def close(self) -> None:
        """The engine is stopping: links end, and the others look for the next owner."""
        for peer in self._peers:
            peer.closed = True
            peer.filled.set()

    async def link(self, requests: AsyncIterator[pb.Request], caller: Caller, stream: Stream) -> None:
        """Serve one engine until its stream ends."""
        del caller
        peer = Peer()
        self._peers.add(peer)
        reader = asyncio.create_task(self._read(requests, peer))
        reader.add_done_callback(lambda _: peer.filled.set())
        try:
            while not (reader.done() or peer.closed):
                await peer.filled.wait()
                peer.filled.clear()
                response, peer.response = peer.response, pb.Response()
                if response.ByteSize():
                    await stream.write(response)
        finally:
            reader.cancel()
            self._peers.discard(peer)
            for worker_id, (tenant_id, port) in peer.workers.items():
                self._inbox.put_control(WorkerChanged(tenant_id, worker_id, port, gone=True))
            self._missed({worker_id: tenant_id for worker_id, (tenant_id, _) in peer.workers.items()})
            for task_id, tenant_id in peer.awaited.items():
                self._audience.stop_waiting(tenant_id, [task_id], peer)

    async def _read(self, requests: AsyncIterator[pb.Request], peer: Peer) -> None:
        async for request in requests:
            if request.WhichOneof("request") == "watch":
                self._watch(request, peer)
                continue
            command = self._command(request, peer)
            if command is None:
                continue
            try:
                if not self._owned(request.tenant_id):
                    raise Unavailable("engine", "does not own this tenant any more; try again")
                if isinstance(command, Report):
                    await self._inbox.put_when_room(command)
                elif isinstance(command, Push):
                    self._inbox.put(command)
                else:
                    self._inbox.put_control(command)
            except TreadleError as problem:
                command.fail(problem)
                if isinstance(command, WorkerJoined):
                    # The worker opens its stream again, and by then the owner is known.
                    peer.workers.pop(command.worker_id, None)
                    command.port.close()

    def _watch(self, request: pb.Request, peer: Peer) -> None:
        if len(peer.awaited) + len(request.watch.ids) > _MAX_AWAITED:
            raise Exhausted("watch", f"at most {_MAX_AWAITED} runs")
        peer.awaited.update(dict.fromkeys(request.watch.ids, request.tenant_id))
        self._audience.wait_for(request.tenant_id, request.watch.ids, peer)

    def _command(self, request: pb.Request, peer: Peer) -> Command | None:
        tenant_id = request.tenant_id
        number = request.number
        match request.WhichOneof("request"):
            case "report":
                report = Report(tenant_id, request.report.worker_id, _report_answer(number, peer))
                fill_report(request.report, report)
                return report
            case "cancel":
                return Cancel(tenant_id, list(request.cancel.ids), _ids_future(number, peer), request.cancel.children)
            case "replay":
                return Replay(tenant_id, list(request.replay.ids), _ids_future(number, peer))
            case "push":
                return Push(tenant_id, events_from(request.push), _push_answer(number, peer))
            case "refresh":
                until: asyncio.Future[float] = asyncio.get_running_loop().create_future()
                until.add_done_callback(
                    lambda done: _settle(done, number, peer, lambda value: pb.Answer(number=number, until=value))
                )
                return RefreshTimeout(tenant_id, request.refresh.task_id, request.refresh.seconds, until)
            case "release":
                released: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                released.add_done_callback(
                    lambda done: _settle(done, number, peer, lambda _value: pb.Answer(number=number))
                )
                return ReleaseSlot(tenant_id, request.release, released)
            case _:
                return self._worker_command(request, peer)

    def _worker_command(self, request: pb.Request, peer: Peer) -> Command | None:
        """What happened to a worker that is connected to the other engine; None when that is not so any more."""
        tenant_id = request.tenant_id
        match request.WhichOneof("request"):
            case "joined":
                return self._joined(request.joined, tenant_id, peer)
            case "changed":
                changed = request.changed
                known = peer.workers.get(changed.worker_id)
                if changed.pulse and self._went_on(changed.worker_id, peer):
                    return None
                if changed.gone:
                    peer.workers.pop(changed.worker_id, None)
                    if known is None:
                        return None
                return WorkerChanged(
                    tenant_id,
                    changed.worker_id,
                    known[1] if known is not None and changed.gone else None,
                    available=changed.available,
                    gone=changed.gone,
                    pulse=changed.pulse,
                )
            case "lost":
                if self._went_on(request.lost, peer):
                    return None
                peer.workers.pop(request.lost, None)
                return WorkerLost(tenant_id, request.lost)
            case "redeliver":
                again = request.redeliver
                port = peer.workers[again.worker_id][1] if again.worker_id in peer.workers else RemotePort("", peer)
                return Redeliver(tenant_id, again.worker_id, port, again.unstarted_since)
            case other:
                raise Unavailable("request", f"{other} is not known to this engine")

    def _went_on(self, worker_id: str, peer: Peer) -> bool:
        """Whether a worker has left the other engine for a third one, or for this: what is heard of it there is over."""
        return worker_id not in peer.workers and self._connected(worker_id)

    def _joined(self, joined: pb.Joined, tenant_id: int, peer: Peer) -> WorkerJoined:
        port = RemotePort(joined.worker_id, peer)
        peer.workers[joined.worker_id] = (tenant_id, port)
        self._met(joined.worker_id)
        in_hand = {(entry.task_id, entry.attempt) for entry in joined.in_hand} if joined.tells_in_hand else None
        return WorkerJoined(
            tenant_id,
            joined.worker_id,
            list(joined.queue_ids),
            dict(joined.capacity),
            port,
            in_hand,
            paused=joined.paused,
        )


def _report_answer(number: int, peer: Peer) -> Callable[[list[AttemptKey], list[Stale], BaseException | None], None]:
    def answer(settled: list[AttemptKey], stale: list[Stale], error: BaseException | None) -> None:
        if error is not None:
            peer.answer(_problem(number, error))
            return
        peer.answer(
            pb.Answer(
                number=number,
                settled=[pb.Attempt(task_id=task_id, attempt=attempt) for task_id, attempt in settled],
                stale=[
                    pb.Stale(task_id=entry.task_id, attempt=entry.attempt, reason=int(entry.reason)) for entry in stale
                ],
            )
        )

    return answer


def _push_answer(number: int, peer: Peer) -> Callable[[list[str | BaseException]], None]:
    def answer(outcomes: list[str | BaseException]) -> None:
        peer.answer(pb.Answer(number=number, outcomes=[_outcome(entry) for entry in outcomes]))

    return answer


def _outcome(entry: str | BaseException) -> pb.Outcome:
    if isinstance(entry, str):
        return pb.Outcome(id=entry)
    problem = _as_problem(entry)
    return pb.Outcome(code=code_number(problem), field=problem.field, message=problem.message)


def _ids_future(number: int, peer: Peer) -> asyncio.Future[list[str]]:
    future: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: _settle(done, number, peer, lambda ids: pb.Answer(number=number, ids=ids)))
    return future


def _settle(done: asyncio.Future[_T], number: int, peer: Peer, answer: Callable[[_T], pb.Answer]) -> None:
    if done.cancelled():
        return
    error = done.exception()
    peer.answer(answer(done.result()) if error is None else _problem(number, error))


def _problem(number: int, error: BaseException) -> pb.Answer:
    problem = _as_problem(error)
    return pb.Answer(number=number, code=code_number(problem), field=problem.field, message=problem.message)


def _as_problem(error: BaseException) -> TreadleError:
    return error if isinstance(error, TreadleError) else Unavailable("engine", str(error))
