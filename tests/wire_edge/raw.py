"""Calls on the bare wire: any method of the contract with any message, without an SDK in between."""

import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from treadle.wire.contract import METHODS, Method

CALL_SECONDS = 15.0
_LOST = "Internal error from Core"


def any_id() -> str:
    """A well-formed id that nobody has given out."""
    return str(uuid.uuid4())


def action_of(name: str) -> str:
    """The action of the only task of `register_workflow`."""
    return f"{name}:{name}"


class RawClient:
    """A channel of its own to one engine. `token=None` sends no authorization at all."""

    def __init__(
        self,
        address: str,
        token: str | None,
        *,
        options: Sequence[tuple[str, Any]] = (),
        scheme: str = "bearer",
    ) -> None:
        wide = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        self._channel = grpc.aio.insecure_channel(address, options=[*wide, *options])
        self._metadata = () if token is None else (("authorization", f"{scheme} {token}"),)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close(None)

    def new(self, path: str, **fields: Any) -> Any:
        """A request of the method at `path`."""
        return METHODS[path].request_class(**fields)

    async def call(self, path: str, request: Any = None, **fields: Any) -> Any:
        """A unary call; the response message."""
        method = METHODS[path]
        call = self._channel.unary_unary(path, *_coders(method))
        message = request if request is not None else method.request_class(**fields)
        return await call(message, timeout=CALL_SECONDS, metadata=self._metadata)

    async def register_workflow(self, name: str, *, retries: int = 0, execution_limit: str = "60s") -> None:
        """Register a workflow of one task with its own name."""
        task = {
            "readable_id": name,
            "action": action_of(name),
            "timeout": execution_limit,
            "retries": retries,
            "slot_requests": {"default": 1},
        }
        await self.call("/v1.AdminService/PutWorkflow", name=name, tasks=[task])

    async def trigger(self, name: str, payload: str = "{}", **fields: Any) -> str:
        """Start a run; its id."""
        answer = await self.call("/WorkflowService/TriggerWorkflow", name=name, input=payload, **fields)
        run_id: str = answer.workflow_run_id
        return run_id

    def subscribe(self, path: str, request: Any) -> Any:
        """A server stream: the call, to read from."""
        call = self._channel.unary_stream(path, *_coders(METHODS[path]))
        return call(request, metadata=self._metadata)

    def converse(self, path: str) -> Any:
        """A stream both ways: the call, to write to and read from."""
        call = self._channel.stream_stream(path, *_coders(METHODS[path]))
        return call(None, metadata=self._metadata)

    async def first_answer(self, path: str, request: Any) -> Any:
        """Whatever kind of method it is: send one request, read one answer."""
        method = METHODS[path]
        if not method.client_streaming and not method.server_streaming:
            return await self.call(path, request)
        if not method.client_streaming:
            return await self.subscribe(path, request).read()
        while True:
            call = self.converse(path)
            try:
                await call.write(request)
                return await call.read()
            except grpc.aio.AioRpcError as error:
                # A refusal that arrives during the write gets lost in the library: ask again.
                if error.details() != _LOST:
                    raise


def _coders(method: Method) -> tuple[Any, Any]:
    return method.request_class.SerializeToString, method.response_class.FromString


class Refused(Exception):  # noqa: N818 - it reads as what happened
    """A call ended with a status other than OK."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


async def refusal(call: Any) -> Refused:
    """Await a call that must be refused; the status and its text."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return Refused(error.code(), error.details() or "")
    raise AssertionError(f"it was accepted: {answer!r}")
