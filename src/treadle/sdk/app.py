"""The app: holds the tasks, knows the engine, runs workers."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from treadle.model.errors import InvalidInput
from treadle.model.names import check_name
from treadle.sdk.codec import OutputCodec
from treadle.sdk.connection import discover
from treadle.sdk.gateway import Gateway
from treadle.sdk.options import TaskOptions, check_priority
from treadle.sdk.pushing import NewEvent, push, push_many
from treadle.sdk.run import Run, read_result
from treadle.sdk.task import FunctionTask, Task
from treadle.sdk.whole_input import WholeInput
from treadle.sdk.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from treadle.sdk.backoff import Backoff
    from treadle.sdk.call import Call
    from treadle.sdk.connection import Connection
    from treadle.sdk.context import Context
    from treadle.sdk.runnable import Runnable
    from treadle.wire.gen.treadle.v1 import runs_pb2

P = ParamSpec("P")
R = TypeVar("R")
InT = TypeVar("InT")

DEFAULT_GRACE = timedelta(seconds=30)
DEFAULT_CLOSE = timedelta(seconds=5)


class TaskDecorator(Protocol):
    """What `app.task(...)` returns: takes the function, with or without a context as its first parameter."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /
    ) -> FunctionTask[P, R, Concatenate[Context, P], Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], R], /
    ) -> FunctionTask[P, R, Concatenate[Context, P], R]: ...
    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> FunctionTask[P, R, P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> FunctionTask[P, R, P, R]: ...


class Treadle:
    """An app: tasks are declared on it, called through it, and run by its workers.

    Nothing is connected before the first call, so an app can be made at import time.

    Args:
        token: Access token; None: TREADLE_TOKEN, else the engine on this machine (`treadle dev`).
        url: `host:port` of the engine's gRPC side, `grpcs://host:port` for TLS; None: TREADLE_URL, else the address in
            the token.
        max_message_bytes: Largest message to send, as the engine is set; None: TREADLE_MAX_MESSAGE_BYTES, else 4 MiB.
    """

    def __init__(
        self, token: str | None = None, url: str | None = None, *, max_message_bytes: int | None = None
    ) -> None:
        self._token = token
        self._url = url
        self._max_message_bytes = max_message_bytes
        self._tasks: dict[str, FunctionTask[..., Any, ..., Any]] = {}
        self._workflows: dict[str, Workflow[Any]] = {}
        self._gateway: Gateway | None = None
        self._lock = threading.Lock()

    # -- declaring -------------------------------------------------------------------------------------------------

    @overload
    def task(
        self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /
    ) -> FunctionTask[P, R, Concatenate[Context, P], Coroutine[Any, Any, R]]: ...
    @overload
    def task(
        self, function: Callable[Concatenate[Context, P], R], /
    ) -> FunctionTask[P, R, Concatenate[Context, P], R]: ...
    @overload
    def task(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> FunctionTask[P, R, P, Coroutine[Any, Any, R]]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> FunctionTask[P, R, P, R]: ...
    @overload
    def task(
        self,
        *,
        name: str | None = None,
        retries: int = 0,
        backoff: Backoff | None = None,
        timeout: timedelta | None = None,
        schedule_timeout: timedelta | None = None,
        priority: int | None = None,
        description: str | None = None,
        slots: int = 1,
    ) -> TaskDecorator: ...
    def task(  # type: ignore[misc] # mypy takes the decorator's own type variables for a mismatch
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        retries: int = 0,
        backoff: Backoff | None = None,
        timeout: timedelta | None = None,
        schedule_timeout: timedelta | None = None,
        priority: int | None = None,
        description: str | None = None,
        slots: int = 1,
    ) -> Any:
        """Make a task of a function: `@app.task` or `@app.task(retries=3, ...)`.

        An `async` function runs on the worker's event loop, a plain one in a thread. Parameters and the return value
        are pydantic models, dataclasses, TypedDicts or plain types. A first parameter of type `Context` is injected.

        Args:
            function: The function, when the decorator is used without arguments.
            name: Name in the engine; the function's name unless given.
            retries: How often to try again after a failure.
            backoff: Wait between tries; None: none.
            timeout: Longest time of one attempt; None: the engine's default (60 s).
            schedule_timeout: Longest time in the queue; None: the engine's default (5 minutes).
            priority: 1 (low) to 3 (high) for runs that name none; None: 1.
            description: For people; the first line of the docstring unless given.
            slots: How many of the worker's slots one attempt takes.

        Raises:
            TypeError: The function's parameters or return value cannot travel as JSON.
            ValueError: A setting is out of range.
            InvalidInput: The name has characters other than letters, digits, '.', '-', '_', or is taken.
        """

        def decorate(target: Callable[..., Any]) -> FunctionTask[..., Any, ..., Any]:
            task_name = check_name(name or target.__name__, "task name")
            doc = (target.__doc__ or "").strip().partition("\n")[0]
            options = TaskOptions(
                retries,
                backoff,
                timeout,
                schedule_timeout,
                priority,
                doc if description is None else description,
                slots,
            )
            options.check(task_name)
            self._check_free(task_name, "task name")
            made: FunctionTask[..., Any, ..., Any] = FunctionTask(self, task_name, target, options)
            self._tasks[task_name.lower()] = made
            return made

        return decorate if function is None else decorate(function)

    @overload
    def workflow(self, name: str, *, description: str = "", priority: int | None = None) -> Workflow[None]: ...
    @overload
    def workflow(
        self, name: str, *, input: type[InT], description: str = "", priority: int | None = None
    ) -> Workflow[InT]: ...
    def workflow(
        self,
        name: str,
        *,
        input: Any = None,  # noqa: A002 - what it is called everywhere
        description: str = "",
        priority: int | None = None,
    ) -> Workflow[Any]:
        """Make a workflow: a set of tasks that follow one another, to be declared with its `task`.

        Args:
            name: Name in the engine.
            input: Type of its input: a pydantic model, a dataclass, a TypedDict. None: it takes none.
            description: For people.
            priority: 1 (low) to 3 (high) for runs that name none; None: 1.

        Raises:
            TypeError: The input's type is no JSON object.
            ValueError: The priority is out of range.
            InvalidInput: The name has characters other than letters, digits, '.', '-', '_', or is taken.
        """
        self._check_free(check_name(name, "workflow name"), "workflow name")
        if priority is not None:
            check_priority(priority, f"workflow {name}")
        made: Workflow[Any] = Workflow(self, WholeInput(name, input), description=description, priority=priority)
        self._workflows[name.lower()] = made
        return made

    def _check_free(self, name: str, field: str) -> None:
        for taken, what in ((self._tasks, "task"), (self._workflows, "workflow")):
            if name.lower() in taken:
                raise InvalidInput(field, f"{name!r} is taken by another {what} of this app")

    @overload
    def remote(self, name: str) -> Task[..., Any]: ...
    @overload
    def remote(self, name: str, *, returns: type[R]) -> Task[..., R]: ...
    def remote(self, name: str, *, returns: Any = Any) -> Task[..., Any]:
        """A handle on a task whose code lives elsewhere. Its parameters are passed by name, and are not checked here.

        Args:
            name: The task's name in the engine.
            returns: Type to read its results as; anything unless given.
        """
        return Task(self, check_name(name, "task name"), None, OutputCodec(name, returns))

    @overload
    def attach(self, run_id: str) -> Run[Any]: ...
    @overload
    def attach(self, run_id: str, *, returns: type[R]) -> Run[R]: ...
    def attach(self, run_id: str, *, returns: Any = Any) -> Run[Any]:
        """A handle on a run that was started earlier, or by someone else.

        Args:
            run_id: Its id.
            returns: Type to read its result as; anything unless given.
        """
        output = OutputCodec("run", returns)

        def read(result: runs_pb2.RunResult) -> Any:
            return read_result(result, "run", output)

        return Run(run_id, "run", read, self.gateway)

    @property
    def tasks(self) -> Mapping[str, FunctionTask[..., Any, ..., Any]]:
        """The tasks declared on this app, by lower-cased name."""
        return self._tasks

    @property
    def workflows(self) -> Mapping[str, Workflow[Any]]:
        """The workflows declared on this app, by lower-cased name."""
        return self._workflows

    def actions(self) -> dict[str, Runnable]:
        """All that its workers run: its tasks, and the tasks of its workflows."""
        found: dict[str, Runnable] = {task.action: task for task in self._tasks.values()}
        for workflow in self._workflows.values():
            found |= {task.action: task for task in workflow.tasks.values()}
        return found

    # -- events --------------------------------------------------------------------------------------------------------

    def push(
        self,
        key: str,
        payload: Any = None,
        *,
        scope: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        priority: int | None = None,
    ) -> Call[str]:
        """Push an event: it meets the conditions that wait for it.

        Args:
            key: What conditions ask for.
            payload: A mapping, pydantic model, dataclass: anything that is a JSON object; None: an empty one.
            scope: Meets only conditions that name it, or none; None: only those that name none.
            metadata: JSON object kept with the event.
            priority: 1 (low) to 3 (high), for the runs that it starts; None: their own.

        Returns:
            The id of the event, once it is stored.

        Raises:
            InvalidInput: The key is empty, or the payload is no JSON object. Raised at once.
            ConnectionProblem: The engine cannot be reached. An event whose answer was lost may have been stored, and is
                not sent again.
        """
        event = NewEvent(key, {} if payload is None else payload, scope, metadata, priority)
        return push(self.gateway, event)

    def push_many(self, events: Iterable[NewEvent]) -> Call[list[str]]:
        """Push events, up to 1000 in a request; those sent are stored even when a later request fails.

        Returns:
            Their ids, in order.

        Raises:
            BulkPushFailed: The engine refused some; the others are stored.
            InvalidInput: One is no event. Raised at once: then nothing is sent.
        """
        return push_many(self.gateway, events)

    # -- connecting ------------------------------------------------------------------------------------------------

    @property
    def connection(self) -> Connection:
        """Where this app's engine is.

        Raises:
            ConnectionProblem: No engine is configured, or its address or token is malformed.
        """
        return self.gateway.connection

    @property
    def gateway(self) -> Gateway:
        """The connection behind every call; made when first needed."""
        gateway = self._gateway
        if gateway is None or not gateway.io.alive:
            with self._lock:
                if self._gateway is None or not self._gateway.io.alive:
                    self._gateway = Gateway(discover(self._token, self._url, max_message_bytes=self._max_message_bytes))
                gateway = self._gateway
        return gateway

    def close(self, timeout: timedelta = DEFAULT_CLOSE) -> None:
        """Close the connection, from plain code; the next call opens it again. A process that ends needs no call of it.

        Waits for results that are under way end with a ConnectionProblem.

        Args:
            timeout: Longest time to block.
        """
        with self._lock:
            gateway, self._gateway = self._gateway, None
        if gateway is not None and gateway.io.alive:
            gateway.io.run(gateway.close, timeout.total_seconds())

    # -- working ---------------------------------------------------------------------------------------------------

    def run_worker(
        self,
        *,
        slots: int = 100,
        processes: int = 1,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        grace: timedelta = DEFAULT_GRACE,
    ) -> None:
        """Run this app's tasks until SIGTERM or SIGINT; blocks.

        On the first signal the worker takes nothing new, lets running tasks finish, and hands back what still runs
        after the grace, without spending an attempt. A second signal hands everything back at once.

        Several processes run Python code on several processors. Each imports the modules of the app, the main script
        too if tasks are in it, so the call of `run_worker` belongs under `if __name__ == "__main__":`.

        Args:
            slots: How many tasks run at a time; in each process, if there are several.
            processes: How many processes run tasks; 1: this one.
            name: Name of the worker; this machine's name unless given.
            labels: Facts about the worker that tasks can read.
            grace: How long running tasks may take to finish after a signal.

        Raises:
            ConnectionProblem: The engine refuses this worker, or is not an engine.
        """
        from treadle.sdk.worker.worker import Worker  # noqa: PLC0415 - loaded late on purpose

        Worker(self, slots=slots, processes=processes, name=name, labels=labels, grace=grace).run_forever()

    def __repr__(self) -> str:
        return f"<Treadle app with {len(self._tasks)} tasks and {len(self._workflows)} workflows>"
