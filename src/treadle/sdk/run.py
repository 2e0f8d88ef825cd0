"""A handle on a run that was started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from treadle.model.errors import NotFound
from treadle.model.ids import canonical_id
from treadle.model.states import RunStatus
from treadle.sdk.call import Call
from treadle.sdk.errors import TaskCancelled, TaskFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.sdk.codec import OutputCodec
    from treadle.sdk.gateway import Gateway
    from treadle.wire.gen.treadle.v1 import runs_pb2

_COMPLETED, _CANCELLED = int(RunStatus.COMPLETED), int(RunStatus.CANCELLED)

T_co = TypeVar("T_co", covariant=True)


class Run(Generic[T_co]):
    """A started run. It goes on in the engine whether or not this object is kept.

    Attributes:
        id: The run's id, a UUID of 36 characters.
        task: The name of its task or workflow.
    """

    __slots__ = ("_gateway", "_read", "id", "task")

    def __init__(self, run_id: str, task: str, read: Callable[[runs_pb2.RunResult], T_co], gateway: Gateway) -> None:
        self.id: str = run_id
        self.task: str = task
        self._read = read
        self._gateway = gateway

    def result(self) -> Call[T_co]:
        """Wait until the run has ended, and get what its task returned; also when it ended long ago.

        Raises:
            TaskFailed: The run failed.
            TaskCancelled: The run was cancelled.
            NotFound: The engine does not know the run.
        """
        results = self._gateway.results
        return Call(
            f"run {self.id}.result()",
            lambda reply: results.add(self.id, reply),
            self._read,
            lambda reply: results.discard(self.id, reply),
        )

    def status(self) -> Call[RunStatus]:
        """Ask where the run is now.

        Raises:
            NotFound: The engine does not know the run.
        """
        gateway = self._gateway
        return gateway.call(
            f"run {self.id}.status()", lambda: gateway.get_run(self.id), lambda detail: RunStatus(detail.run.status)
        )

    def cancel(self, *, children: bool = False) -> Call[bool]:
        """Cancel the run: at once while it is queued; when it is running, its worker is told to stop.

        Args:
            children: Also cancel the runs that it has started, those that they have started, and so on.

        Returns:
            False when the run had ended already.
        """
        gateway = self._gateway
        return gateway.call(
            f"run {self.id}.cancel()",
            lambda: gateway.cancel_runs([self.id], children=children),
            lambda changed: canonical_id(self.id) in changed,
        )

    def replay(self) -> Call[bool]:
        """Run it again, under its id and with its input, after it has ended.

        Returns:
            False when it has not ended.
        """
        gateway = self._gateway
        return gateway.call(f"run {self.id}.replay()", lambda: gateway.replay_runs([self.id]), bool)

    def __repr__(self) -> str:
        return f"<Run {self.id} of {self.task}>"


def read_result(result: runs_pb2.RunResult, task: str, output: OutputCodec) -> Any:
    """The task's return value, or the error that tells how else the run ended."""
    status = result.status
    if status == _COMPLETED:
        return output.decode(result.output)
    check_known(result)
    if status == _CANCELLED:
        raise TaskCancelled(result.run_id, task, result.error)
    raise TaskFailed(result.run_id, task, result.error)


def check_known(result: runs_pb2.RunResult) -> None:
    """Raises NotFound when the engine does not know the run."""
    if result.not_found:
        raise NotFound("run", f"{result.run_id} is not known to this engine")
