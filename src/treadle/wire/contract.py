"""Every method of both contracts, read from the generated descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf import message_factory

from treadle.wire.gen.hatchet import dispatcher_pb2, events_pb2, workflows_pb2
from treadle.wire.gen.hatchet.v1 import dispatcher_pb2 as v1_dispatcher_pb2
from treadle.wire.gen.hatchet.v1 import workflows_pb2 as v1_workflows_pb2
from treadle.wire.gen.treadle.internal.v1 import engines_pb2
from treadle.wire.gen.treadle.v1 import events_pb2 as treadle_events_pb2
from treadle.wire.gen.treadle.v1 import runs_pb2, worker_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FileDescriptor
    from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Method:
    """One gRPC method. ``path`` is what stands on the wire, e.g. ``/Dispatcher/Register``."""

    path: str
    request_class: type[Message]
    response_class: type[Message]
    client_streaming: bool
    server_streaming: bool


def _methods(file: FileDescriptor) -> Iterator[Method]:
    for service in file.services_by_name.values():
        for method in service.methods:
            yield Method(
                path=f"/{service.full_name}/{method.name}",
                request_class=message_factory.GetMessageClass(method.input_type),
                response_class=message_factory.GetMessageClass(method.output_type),
                client_streaming=method.client_streaming,
                server_streaming=method.server_streaming,
            )


HATCHET_METHODS: dict[str, Method] = {
    method.path: method
    for module in (dispatcher_pb2, events_pb2, workflows_pb2, v1_dispatcher_pb2, v1_workflows_pb2)
    for method in _methods(module.DESCRIPTOR)
}
"""The methods that the official Hatchet SDKs call, by path."""

TREADLE_METHODS: dict[str, Method] = {
    method.path: method
    for module in (worker_pb2, runs_pb2, treadle_events_pb2)
    for method in _methods(module.DESCRIPTOR)
}
"""The methods that Treadle's own SDK adds, by path."""

INTERNAL_METHODS: dict[str, Method] = {method.path: method for method in _methods(engines_pb2.DESCRIPTOR)}
"""The methods that engines call on each other."""

METHODS: dict[str, Method] = HATCHET_METHODS | TREADLE_METHODS
"""All that workers and clients call, by path."""
