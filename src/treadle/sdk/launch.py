"""Starting runs of something by its name, and what becomes of them: shared by tasks and workflows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from treadle.model.errors import TreadleError
from treadle.sdk.bulk import handles_of, start_all
from treadle.sdk.call import Call
from treadle.sdk.context import running
from treadle.sdk.options import RunOptions, check_priority, encode_metadata
from treadle.sdk.starts import check_size
from treadle.wire.gen.treadle.v1 import runs_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from treadle.sdk.app import Treadle
    from treadle.sdk.gateway import Gateway
    from treadle.sdk.run import Run

T = TypeVar("T")
RunT = TypeVar("RunT", bound="Run[Any]")


class Launch(Generic[T, RunT]):
    """Makes runs of a name. `T` is a run's result, `RunT` the handle on a run."""

    def __init__(
        self,
        app: Treadle,
        name: str,
        *,
        handle: Callable[[str, Gateway], RunT],
        read: Callable[[runs_pb2.RunResult], T],
        options: RunOptions | None = None,
    ) -> None:
        """Make one.

        Args:
            app: Knows the engine.
            name: Of the task or workflow.
            handle: Makes the handle of a run id.
            read: Makes the value of a result, or raises the error that tells how else the run ended.
            options: What is said about each run.
        """
        self.app = app
        self.name = name
        self.handle = handle
        self.read = read
        self.options: RunOptions = options or RunOptions()

    def with_options(
        self,
        *,
        priority: int | None,
        metadata: Mapping[str, Any] | None,
        child_key: str | None,
        detached: bool | None,
    ) -> Launch[T, RunT]:
        """The same, with other options where they are given."""
        old = self.options
        options = replace(
            old,
            priority=old.priority if priority is None else check_priority(priority, self.name),
            metadata=old.metadata if metadata is None else encode_metadata(metadata),
            child_key=old.child_key if child_key is None else child_key,
            detached=old.detached if detached is None else detached,
        )
        return Launch(self.app, self.name, handle=self.handle, read=self.read, options=options)

    def run(self, data: bytes) -> Call[T]:
        """Start a run with this input, and wait for its result."""
        gateway = self.app.gateway
        (new,) = self._requests((data,), gateway)
        starts = gateway.child_starts if new.parent_task_id else gateway.starts
        return Call(f"{self.name}.run(...)", lambda reply: starts.submit(new, reply, wait=True), self.read)

    def start(self, data: bytes) -> Call[RunT]:
        """Start a run with this input."""
        gateway = self.app.gateway
        (new,) = self._requests((data,), gateway)
        starts = gateway.child_starts if new.parent_task_id else gateway.starts
        return Call(
            f"{self.name}.start(...)",
            lambda reply: starts.submit(new, reply, wait=False),
            lambda run_id: self.handle(run_id, gateway),
        )

    def start_many(self, inputs: Iterable[bytes]) -> Call[list[RunT]]:
        """Start a run for each input."""
        gateway = self.app.gateway
        runs = self._requests(inputs, gateway)
        return gateway.call(
            f"{self.name}.start_many(...)",
            lambda: start_all(gateway, runs),
            lambda outcomes: handles_of(outcomes, lambda run_id: self.handle(run_id, gateway)),
        )

    def run_many(self, inputs: Iterable[bytes], *, return_exceptions: bool) -> Call[list[Any]]:
        """Start a run for each input, and wait for all results."""
        gateway = self.app.gateway
        runs = self._requests(inputs, gateway)

        async def start_and_wait() -> list[runs_pb2.RunResult]:
            with gateway.results.bulk() as results:
                # From the first ones on: what is waited for before it ends need not be looked up.
                outcomes = await start_all(gateway, runs, results.expect)
                run_ids = [outcome for outcome in outcomes if isinstance(outcome, str)]
                if len(run_ids) != len(outcomes):
                    handles_of(outcomes, lambda run_id: self.handle(run_id, gateway))  # raises
                return await results.of(run_ids)

        def finish(results: list[runs_pb2.RunResult]) -> list[Any]:
            values: list[Any] = []
            for result in results:
                try:
                    values.append(self.read(result))
                except TreadleError as error:
                    if not return_exceptions:
                        raise
                    values.append(error)
            return values

        return gateway.call(f"{self.name}.run_many(...)", start_and_wait, finish)

    def _requests(self, inputs: Iterable[bytes], gateway: Gateway) -> list[runs_pb2.NewRun]:
        """The requests for these inputs; takes the next child numbers when inside a task."""
        options = self.options
        parent = None if options.detached else running.get()
        if parent is None and options.child_key:
            raise RuntimeError(f"{self.name}: child_key is for runs that are started inside a task")
        name, metadata, priority = self.name, options.metadata, options.priority
        limit = gateway.connection.max_message_bytes
        made: list[runs_pb2.NewRun] = []
        for data in inputs:
            # Field by field, as that costs a third of what keyword arguments do.
            new = runs_pb2.NewRun()
            new.task = name
            new.input = data
            if metadata:
                new.metadata = metadata
            if priority:
                new.priority = priority
            if parent is not None:
                new.parent_task_id = parent.task_id
                new.child_index = parent._next_child()  # noqa: SLF001 - classes of one family
                new.child_key = options.child_key
            check_size(new, limit)
            made.append(new)
        return made
