"""A function that has become a task: call it here, or have it run by a worker."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, overload

from treadle.model.errors import InvalidInput, TreadleError
from treadle.sdk.codec import BadOutput, InputCodec, OutputCodec, resolve_hints
from treadle.sdk.launch import Launch
from treadle.sdk.run import Run, read_result
from treadle.sdk.runnable import action_of, takes_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from treadle.sdk.app import Treadle
    from treadle.sdk.call import Call
    from treadle.sdk.options import TaskOptions
    from treadle.wire.gen.treadle.v1 import runs_pb2

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

        def read(result: runs_pb2.RunResult) -> Any:
            return read_result(result, name, output)

        self._launch: Launch[Any, Run[Any]] = Launch(
            app, name, read=read, handle=lambda run_id, gateway: Run(run_id, name, read, gateway)
        )

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
        return self._launch.run(self._encode(self._values(args, kwargs)))

    def start(self, *args: P.args, **kwargs: P.kwargs) -> Call[Run[R_co]]:
        """Start a run without waiting for its result. It is durable once the call returns.

        Raises:
            InvalidInput: An argument does not fit its type. Raised at once.
            NotFound: The engine knows no task of this name: no worker has registered it yet.
            ConnectionProblem: The engine cannot be reached.
        """
        return self._launch.start(self._encode(self._values(args, kwargs)))

    def start_many(self, inputs: Iterable[Mapping[str, Any]]) -> Call[list[Run[R_co]]]:
        """Start a run for each input: mappings of parameter names to values.

        They are sent up to 1000 at a time, in order; those sent are durable even when a later request fails.

        Raises:
            BulkStartFailed: The engine refused some; the others are started.
            InvalidInput: An input does not fit the parameters. Raised at once: then nothing is started.
        """
        return self._launch.start_many(self._each_encoded(inputs))

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
        return self._launch.run_many(self._each_encoded(inputs), return_exceptions=return_exceptions)

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
        copy: Task[P, R_co] = Task(self._app, self.name, self._codec, self._output)
        copy._launch = self._launch.with_options(
            priority=priority, metadata=metadata, child_key=child_key, detached=detached
        )
        return copy

    def _values(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if self._codec is not None:
            return self._codec.bind(args, kwargs)
        if args:
            raise TypeError(f"{self.name} is a remote task, whose parameters have no known order: pass them by name")
        return kwargs

    def _encode(self, values: dict[str, Any]) -> bytes:
        codec = self._codec
        return _encode_any(self.name, values) if codec is None else codec.encode(values)

    def _each_encoded(self, inputs: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
        bind = dict if self._codec is None else self._codec.bind_mapping
        return (self._encode(bind(values)) for values in inputs)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


class FunctionTask(Task[P, R_co], Generic[P, R_co, Q, C_co]):
    """A task whose code is here. Calling it is calling the plain function: unit tests need no engine."""

    def __init__(self, app: Treadle, name: str, function: Callable[Q, C_co], options: TaskOptions) -> None:
        hints = resolve_hints(function)
        self.takes_context: bool = takes_context(name, function, hints)
        self.is_async: bool = inspect.iscoroutinefunction(inspect.unwrap(function))
        codec = InputCodec(name, function, 1 if self.takes_context else 0, hints)
        super().__init__(app, name, codec, OutputCodec(name, hints.get("return", Any)))
        self.input = codec
        self.output: OutputCodec = self._output
        self.function = function
        self.task_options = options
        self.action: str = action_of(name, name)
        self.full_name: str = name
        functools.update_wrapper(self, function)

    def __call__(self, *args: Q.args, **kwargs: Q.kwargs) -> C_co:
        return self.function(*args, **kwargs)


_any_output = OutputCodec("", Any)


def _encode_any(name: str, values: dict[str, Any]) -> bytes:
    try:
        return _any_output.encode(values)
    except BadOutput as error:
        raise InvalidInput(f"{name} input", str(error)) from None
