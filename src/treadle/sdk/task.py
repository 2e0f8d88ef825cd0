"""A function that has become a task: call it here, or have it run by a worker."""

from __future__ import annotations

import functools
import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, overload

from treadle.model.errors import InvalidInput, TreadleError
from treadle.sdk.bulk import start_many
from treadle.sdk.call import Call
from treadle.sdk.codec import BadOutput, InputCodec, OutputCodec, resolve_hints
from treadle.sdk.context import Context, running
from treadle.sdk.options import RunOptions, TaskOptions, check_priority, encode_metadata
from treadle.sdk.run import Run, read_result
from treadle.sdk.starts import check_size
from treadle.wire.gen.treadle.v1 import runs_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from treadle.sdk.app import Treadle

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
C_co = TypeVar("C_co", covariant=True)


class Task(Generic[P, R_co]):
    """Something a worker can run: `P` are its parameters, `R_co` is what it returns.

    Attributes:
        name: Its name in the engine.
    """

    def __init__(self, app: Treadle, name: str, codec: InputCodec | None, output: OutputCodec) -> None:
        """Made by `Treadle.task` and `Treadle.remote`."""
        self.name = name
        self._app = app
        self._codec = codec
        self._output = output
        self._options = RunOptions()

    def run(self, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        """Start a run and wait for its result.

        The arguments are those of the function, without the context. Inside another task, the run becomes its child.

        Returns:
            A call to `await`, or to `.wait()` for in plain code.

        Raises:
            InvalidInput: An argument does not fit its type. Raised at once.
            TaskFailed: The run failed.
            TaskCancelled: The run was cancelled.
            ConnectionProblem: The engine cannot be reached.
        """
        gateway = self._app.gateway
        new = self._new_run(self._values(args, kwargs))
        starts = gateway.child_starts if new.parent_task_id else gateway.starts

        def finish(result: runs_pb2.RunResult) -> R_co:
            value: R_co = read_result(result, result.run_id, self.name, self._output)
            return value

        return Call(f"{self.name}.run(...)", lambda reply: starts.submit(new, reply, wait=True), finish)

    def start(self, *args: P.args, **kwargs: P.kwargs) -> Call[Run[R_co]]:
        """Start a run without waiting for its result. It is durable once the call returns.

        Raises:
            InvalidInput: An argument does not fit its type. Raised at once.
            NotFound: The engine knows no task of this name: no worker has registered it yet.
            ConnectionProblem: The engine cannot be reached.
        """
        gateway = self._app.gateway
        new = self._new_run(self._values(args, kwargs))
        starts = gateway.child_starts if new.parent_task_id else gateway.starts
        return Call(
            f"{self.name}.start(...)",
            lambda reply: starts.submit(new, reply, wait=False),
            lambda run_id: Run(run_id, self.name, self._output, gateway),
        )

    def start_many(self, inputs: Iterable[Mapping[str, Any]]) -> Call[list[Run[R_co]]]:
        """Start a run for each input: mappings of parameter names to values.

        They are sent up to 1000 at a time, in order; those sent are durable even when a later request fails.

        Raises:
            BulkStartFailed: The engine refused some; the others are started.
            InvalidInput: An input does not fit the parameters. Raised at once: then nothing is started.
        """
        return start_many(self, inputs, self._app.gateway)

    @overload
    def run_many(self, inputs: Iterable[Mapping[str, Any]]) -> Call[list[R_co]]: ...
    @overload
    def run_many(
        self, inputs: Iterable[Mapping[str, Any]], *, return_exceptions: Literal[False]
    ) -> Call[list[R_co]]: ...
    @overload
    def run_many(
        self, inputs: Iterable[Mapping[str, Any]], *, return_exceptions: Literal[True]
    ) -> Call[list[R_co | TreadleError]]: ...
    def run_many(
        self, inputs: Iterable[Mapping[str, Any]], *, return_exceptions: bool = False
    ) -> Call[list[R_co]] | Call[list[R_co | TreadleError]]:
        """Start a run for each input and wait for all results, in the order of the inputs.

        Args:
            inputs: Mappings of parameter names to values.
            return_exceptions: Put the errors of runs that failed into the list, rather than raising the first.

        Raises:
            TaskFailed: A run failed.
            TaskCancelled: A run was cancelled.
            BulkStartFailed: The engine refused some; the others are started.
        """

        def finish(results: list[runs_pb2.RunResult]) -> list[Any]:
            values: list[Any] = []
            for result in results:
                try:
                    values.append(read_result(result, result.run_id, self.name, self._output))
                except TreadleError as error:
                    if not return_exceptions:
                        raise
                    values.append(error)
            return values

        return start_many(self, inputs, self._app.gateway, wait=finish)

    def options(
        self,
        *,
        priority: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        child_key: str | None = None,
        detached: bool | None = None,
    ) -> Task[P, R_co]:
        """This task, with settings for the runs started through the returned handle.

        Args:
            priority: 1 (low) to 3 (high).
            metadata: JSON object kept with the run; filters and the task's context can read it.
            child_key: Names the child among those of its parent, so that a retried parent finds it again even when the
                order of its calls changes. Only inside a task.
            detached: Do not make the run a child of the task it is started in.

        Raises:
            ValueError: The priority is out of range.
            InvalidInput: The metadata cannot be JSON.
        """
        old = self._options
        copy = self._copy()
        copy._options = replace(  # noqa: SLF001 - classes of one family
            old,
            priority=old.priority if priority is None else check_priority(priority, self.name),
            metadata=old.metadata if metadata is None else encode_metadata(metadata),
            child_key=old.child_key if child_key is None else child_key,
            detached=old.detached if detached is None else detached,
        )
        return copy

    def _copy(self) -> Task[P, R_co]:
        return Task(self._app, self.name, self._codec, self._output)

    def _values(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if self._codec is not None:
            return self._codec.bind(args, kwargs)
        if args:
            raise TypeError(f"{self.name} is a remote task, whose parameters have no known order: pass them by name")
        return kwargs

    def _new_run(self, values: dict[str, Any]) -> runs_pb2.NewRun:
        """The request for one run; takes the next child number when inside a task."""
        [new] = self._new_runs((values,))
        return new

    def _prepare(self, inputs: Iterable[Mapping[str, Any]]) -> list[runs_pb2.NewRun]:
        codec = self._codec
        return self._new_runs(map(dict, inputs) if codec is None else map(codec.bind_mapping, inputs))

    def _new_runs(self, inputs: Iterable[dict[str, Any]]) -> list[runs_pb2.NewRun]:
        options = self._options
        parent = None if options.detached else running.get()
        if parent is None and options.child_key:
            raise RuntimeError(f"{self.name}: child_key is for runs that are started inside a task")
        name, metadata, priority = self.name, options.metadata, options.priority
        encode = self._codec.encode if self._codec is not None else functools.partial(_encode_any, name)
        limit = self._app.gateway.connection.max_message_bytes
        made: list[runs_pb2.NewRun] = []
        for values in inputs:
            # Field by field, as that costs a third of what keyword arguments do.
            new = runs_pb2.NewRun()
            new.task = name
            new.input = encode(values)
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

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


class FunctionTask(Task[P, R_co], Generic[P, R_co, Q, C_co]):
    """A task whose code is here. Calling it is calling the plain function: unit tests need no engine."""

    def __init__(self, app: Treadle, name: str, function: Callable[Q, C_co], options: TaskOptions) -> None:
        hints = resolve_hints(function)
        self.takes_context: bool = _takes_context(name, function, hints)
        self.is_async: bool = inspect.iscoroutinefunction(inspect.unwrap(function))
        codec = InputCodec(name, function, 1 if self.takes_context else 0, hints)
        super().__init__(app, name, codec, OutputCodec(name, hints.get("return", Any)))
        self.input = codec
        self.output: OutputCodec = self._output
        self.function = function
        self.task_options = options
        functools.update_wrapper(self, function)

    def __call__(self, *args: Q.args, **kwargs: Q.kwargs) -> C_co:
        return self.function(*args, **kwargs)


def _takes_context(name: str, function: Callable[..., object], hints: Mapping[str, Any]) -> bool:
    parameters = list(inspect.signature(function).parameters.values())
    for position, parameter in enumerate(parameters):
        if hints.get(parameter.name) is Context:
            if position > 0:
                raise TypeError(f"task {name}: the context {parameter.name!r} must be the first parameter")
            return True
    return False


_any_output = OutputCodec("", Any)


def _encode_any(name: str, values: dict[str, Any]) -> bytes:
    try:
        return _any_output.encode(values)
    except BadOutput as error:
        raise InvalidInput(f"{name} input", str(error)) from None
