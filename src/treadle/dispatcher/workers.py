"""Workers on the Hatchet contract: registration, heartbeats, labels, goodbye."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc

from treadle.model.errors import InvalidInput, NotFound
from treadle.model.ids import new_id
from treadle.model.names import check_name
from treadle.runtime.clock import moment
from treadle.storage import register as rows
from treadle.wire.gen.hatchet import dispatcher_pb2 as pb
from treadle.wire.ids import checked_id
from treadle.wire.serving import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treadle.dispatcher.listen import Listeners
    from treadle.dispatcher.liveness import Liveness
    from treadle.runtime.clock import Clock
    from treadle.storage.database import Database
    from treadle.wire.serving import Caller, Handlers

PROTOCOL = 1
CONTRACT_VERSION = "v0.111.0"
"""The version of the reference engine whose contract is spoken: the SDKs turn features on by it."""

DEFAULT_SLOTS = 100
_STREAM_OPENS_WITHIN = 2.0


class Workers:
    """Serves what a Hatchet worker calls about itself.

    Args:
        database: where workers are stored.
        liveness: who is alive.
        listeners: the open streams.
        clock: the time.
    """

    def __init__(self, *, database: Database, liveness: Liveness, listeners: Listeners, clock: Clock) -> None:
        self._database = database
        self._liveness = liveness
        self._listeners = listeners
        self._clock = clock

    def handlers(self) -> Handlers:
        """What this module serves."""
        return {
            "/Dispatcher/Register": self.register,
            "/Dispatcher/Heartbeat": self.heartbeat,
            "/Dispatcher/Unsubscribe": self.unsubscribe,
            "/Dispatcher/UpsertWorkerLabels": self.upsert_labels,
            "/Dispatcher/GetVersion": self.get_version,
        }

    async def register(self, request: pb.WorkerRegisterRequest, caller: Caller) -> pb.WorkerRegisterResponse:
        """Store a new worker."""
        name = check_name(request.worker_name, "worker_name")
        for index, action in enumerate(request.actions):
            if not action.strip() or "\0" in action:
                raise InvalidInput(f"actions[{index}]", "must be the name of an action")
        actions = sorted({action.lower() for action in request.actions})
        worker_id = new_id()
        runtime = request.runtime_info
        async with self._database.connection() as conn:
            await rows.insert_worker(
                conn,
                tenant_id=caller.tenant_id,
                id=worker_id,
                name=name,
                protocol=PROTOCOL,
                actions=actions,
                slots=json.dumps(_slots(request)),
                labels=json.dumps(_labels(request.labels)),
                runtime=json.dumps(
                    {
                        "sdk_version": runtime.sdk_version,
                        "language": pb.SDKS.Name(runtime.language),
                        "language_version": runtime.language_version,
                        "os": runtime.os,
                        "extra": runtime.extra,
                    }
                ),
                now=moment(self._clock.now()),
            )
        return pb.WorkerRegisterResponse(tenant_id=caller.tenant, worker_id=worker_id, worker_name=name)

    async def heartbeat(self, request: pb.HeartbeatRequest, caller: Caller) -> pb.HeartbeatResponse:
        """A sign of life, taken in memory."""
        worker_id = checked_id(request.worker_id, "worker_id")
        # A worker opens its stream and sends its first heartbeat in the same instant.
        if await self._listeners.wait_open(worker_id, caller.tenant_id, _STREAM_OPENS_WITHIN):
            self._liveness.seen(worker_id)
            return pb.HeartbeatResponse()
        async with self._database.connection() as conn:
            found = await rows.find_worker(conn, tenant_id=caller.tenant_id, id=worker_id)
        if found is None:
            raise NotFound("worker_id", f"no worker {worker_id}")
        # Alive, but deaf: the SDK opens its stream again on this status.
        self._liveness.seen(worker_id)
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "worker stream is not active")

    async def unsubscribe(self, request: pb.WorkerUnsubscribeRequest, caller: Caller) -> pb.WorkerUnsubscribeResponse:
        """Close a worker's stream."""
        worker_id = checked_id(request.worker_id, "worker_id")
        if not self._listeners.close_one(worker_id, caller.tenant_id):
            async with self._database.connection() as conn:
                if await rows.find_worker(conn, tenant_id=caller.tenant_id, id=worker_id) is None:
                    raise NotFound("worker_id", f"no worker {worker_id}")
        return pb.WorkerUnsubscribeResponse(tenant_id=caller.tenant, worker_id=worker_id)

    async def upsert_labels(
        self, request: pb.UpsertWorkerLabelsRequest, caller: Caller
    ) -> pb.UpsertWorkerLabelsResponse:
        """Add labels to a worker, or change them."""
        worker_id = checked_id(request.worker_id, "worker_id")
        async with self._database.transaction() as conn:
            found = await rows.find_worker(conn, tenant_id=caller.tenant_id, id=worker_id)
            if found is None:
                raise NotFound("worker_id", f"no worker {worker_id}")
            labels = json.loads(found.labels) | _labels(request.labels)
            await rows.set_worker_labels(conn, tenant_id=caller.tenant_id, id=worker_id, labels=json.dumps(labels))
        return pb.UpsertWorkerLabelsResponse(tenant_id=caller.tenant, worker_id=worker_id)

    async def get_version(self, request: pb.GetVersionRequest, caller: Caller) -> pb.GetVersionResponse:
        """The version of the contract."""
        del request, caller
        return pb.GetVersionResponse(version=CONTRACT_VERSION)


def _slots(request: pb.WorkerRegisterRequest) -> dict[str, int]:
    if request.HasField("slots") and request.slot_config:
        raise InvalidInput("slot_config", "give either slots or slot_config, not both")
    slots = dict(request.slot_config) or {"default": request.slots if request.HasField("slots") else DEFAULT_SLOTS}
    for slot_type, units in slots.items():
        if units < 0:
            raise InvalidInput(f"slot_config[{slot_type!r}]", f"must be 0 or more, not {units}")
    return slots


def _labels(labels: Mapping[str, pb.WorkerLabels]) -> dict[str, str | int]:
    return {key: label.int_value if label.HasField("int_value") else label.str_value for key, label in labels.items()}
