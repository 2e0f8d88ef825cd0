"""Calls from the command line to a running engine, over the SDK's own connection."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from treadle.cli.exits import CommandError, Exit
from treadle.model import errors as model
from treadle.sdk.call import Call
from treadle.sdk.connection import discover
from treadle.sdk.errors import ConnectionProblem
from treadle.sdk.gateway import Gateway
from treadle.wire.gen.treadle.v1 import runs_pb2

T = TypeVar("T")

_PAGE = 1000

_EXITS: dict[type[model.TreadleError], Exit] = {
    model.InvalidInput: Exit.USAGE,
    model.Conflict: Exit.USAGE,
    model.Unsupported: Exit.USAGE,
    model.NotFound: Exit.NOT_FOUND,
    model.PermissionDenied: Exit.REFUSED,
    model.Unavailable: Exit.UNREACHABLE,
    model.Exhausted: Exit.UNREACHABLE,
    ConnectionProblem: Exit.UNREACHABLE,
}


class Engine:
    """What commands ask of an engine."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @property
    def address(self) -> str:
        return self._gateway.connection.target

    def start(self, run: runs_pb2.NewRun) -> str:
        """Start one run; its id."""
        outcome = self._wait(lambda: self._gateway.starts.start([run]))[0]
        if isinstance(outcome, str):
            return outcome
        # Here it is one run that was asked for, not the first of many.
        field = outcome.field.removeprefix("runs[0].")
        if field == "name":
            raise model.NotFound("", outcome.message)
        raise type(outcome)(field, outcome.message)

    def result(self, run_id: str, timeout: timedelta | None) -> runs_pb2.RunResult:
        """Wait until a run has ended. An engine that goes away meanwhile is waited for too."""
        results = self._gateway.results
        call: Call[runs_pb2.RunResult] = Call(
            "the result", lambda reply: results.add(run_id, reply), _as_is, lambda reply: results.discard(run_id, reply)
        )
        try:
            result = call.wait(timeout)
        except TimeoutError:
            raise CommandError(
                Exit.TIMED_OUT, f"run {run_id} has not ended yet", hint=f"treadle runs get {run_id}"
            ) from None
        if result.not_found:
            raise model.NotFound("", f"there is no run {run_id}")
        return result

    def get(self, run_id: str) -> runs_pb2.RunDetail:
        return self._wait(lambda: self._gateway.get_run(run_id))

    def list_runs(self, request: runs_pb2.ListRunsRequest, limit: int) -> Iterator[runs_pb2.RunSummary]:
        """Newest first, over as many pages as `limit` takes."""
        page = runs_pb2.ListRunsRequest()
        page.CopyFrom(request)
        while limit > 0:
            page.limit = min(limit, _PAGE)
            answer: runs_pb2.ListRunsResponse = self._unary("List", page)
            yield from answer.runs
            limit -= len(answer.runs)
            if not answer.next_before or not answer.runs:
                return
            page.before = answer.next_before

    def cancel(self, selection: runs_pb2.SelectRuns) -> list[str]:
        changed: runs_pb2.ChangedRuns = self._unary("Cancel", selection)
        return [*changed.ids]

    def replay(self, selection: runs_pb2.SelectRuns) -> list[str]:
        # Done twice, a run would be replayed twice: an answer that was lost is not asked for again.
        changed: runs_pb2.ChangedRuns = self._unary("Replay", selection, repeatable=False)
        return [*changed.ids]

    def _unary(self, name: str, request: Any, *, repeatable: bool = True) -> Any:
        path = f"/treadle.v1.Runs/{name}"
        return self._wait(lambda: self._gateway.unary(path, request, repeatable=repeatable))

    def _wait(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self._gateway.call("the call", make, _as_is).wait()


def _as_is(value: T) -> T:
    return value


@contextmanager
def connect() -> Iterator[Engine]:
    """The engine that the environment names, or the one on this machine.

    What goes wrong in the block is turned into a message and an exit code. Nothing is sent before the first call.
    """
    try:
        gateway = Gateway(discover())
        try:
            yield Engine(gateway)
        finally:
            gateway.call("closing", gateway.close, _as_is).wait()
    except model.TreadleError as problem:
        raise CommandError(_exit_of(problem), str(problem)) from None


def _exit_of(problem: model.TreadleError) -> Exit:
    if isinstance(problem, ConnectionProblem) and problem.mistake == "token":
        return Exit.REFUSED
    return next((code for kind, code in _EXITS.items() if isinstance(problem, kind)), Exit.RUN_FAILED)
