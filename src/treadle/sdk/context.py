"""What a running task can know and do about itself."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol

from treadle.model.durations import format_duration
from treadle.model.states import SKIPPED_OUTPUT
from treadle.sdk.in_workflow import InWorkflow
from treadle.sdk.options import encode_metadata, milliseconds
from treadle.wire.gen.hatchet import dispatcher_pb2
from treadle.wire.gen.treadle.v1 import worker_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from treadle.sdk.call import Call
    from treadle.sdk.conditions import Atom, EventCondition, SleepCondition
    from treadle.sdk.gateway import Gateway
    from treadle.sdk.steps import WorkflowTask

Level = Literal["DEBUG", "INFO", "WARN", "ERROR"]
CancelReason = Literal["cancelled", "superseded", "timed out", "shutting down"]

_LONGEST_MESSAGE = 64 * 1024

running: ContextVar[Context | None] = ContextVar("treadle_running", default=None)
"""The context of the task that runs here, if one does."""


class Host(Protocol):
    """What a context needs of the worker it runs on."""

    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def gateway(self) -> Gateway | None: ...
    def log(self, line: worker_pb2.LogLine) -> None: ...
    def extend_deadline(self, context: Context, by: timedelta) -> None: ...


class Context(InWorkflow):
    """The attempt that runs now. A task gets it by declaring a first parameter of this type.

    Attributes:
        task: Name of the task; of a task of a workflow, its name there.
        workflow: Name of the workflow, or "" for a task of its own.
        task_id: Id of the task run, a UUID of 36 characters. For a task of its own it equals `run_id`.
        run_id: Id of the run.
        attempt: Number of this attempt, from 1: grows with every delivery, also after a worker was lost.
        retry_count: How many of the task's retries are used up: 0 in the first try.
        fence: Fencing number: grows with every attempt of this run. Put it into your own
            `UPDATE ... WHERE fence < :fence` and an attempt that was given up can do no harm.
        max_retries: How many retries the task has.
        priority: 1 (low) to 3 (high).
        parent_id: Id of the task run that started this one, or "".
        timeout: Longest time of this attempt, as it was when the attempt was delivered; None when there is none.
        cancel_reason: Why `cancelled` is set, or None.
    """

    __slots__ = (
        "_children",
        "_event",
        "_host",
        "_loop",
        "_metadata",
        "attempt",
        "cancel_reason",
    )

    def __init__(
        self,
        task: str,
        delivery: worker_pb2.Delivery,
        host: Host,
        workflow: str = "",
        keys: Mapping[Atom, str] | None = None,
    ) -> None:
        """Made by the worker; `Context.fake` makes one for unit tests."""
        super().__init__(task, delivery, workflow, keys)
        self.attempt: int = delivery.attempt
        self.cancel_reason: CancelReason | None = None
        self._host = host
        self._metadata: dict[str, Any] | None = None
        self._children: itertools.count[int] | None = None
        self._event: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def fence(self) -> int:
        return self.attempt

    @property
    def retry_count(self) -> int:
        return self._delivery.retries_used

    @property
    def max_retries(self) -> int:
        return self._delivery.max_retries

    @property
    def priority(self) -> int:
        return self._delivery.priority

    @property
    def parent_id(self) -> str:
        return self._delivery.parent_id

    @property
    def timeout(self) -> timedelta | None:
        ms = self._delivery.timeout_ms
        return timedelta(milliseconds=ms) if ms else None

    @property
    def metadata(self) -> dict[str, Any]:
        """What the caller attached with `options(metadata=...)`."""
        if self._metadata is None:
            text = self._delivery.metadata
            self._metadata = json.loads(text) if text else {}
        return self._metadata

    @property
    def worker_labels(self) -> Mapping[str, str]:
        """The labels of the worker this runs on."""
        return self._host.labels

    # -- saying something ------------------------------------------------------------------------------------------

    def log(self, message: object, level: Level = "INFO", **fields: Any) -> None:
        """Add a line to the run's log. Returns at once; lines are sent with the next frame.

        Args:
            message: Text of at most 64 KiB; the rest is cut off.
            level: How much it matters.
            fields: Further values, kept beside the text as JSON; what is not JSON is kept as its text.
        """
        try:
            metadata = json.dumps(fields, default=str, separators=(",", ":"), allow_nan=False) if fields else ""
        except ValueError:  # NaN, or a value that holds itself
            metadata = json.dumps({name: str(value) for name, value in fields.items()}, separators=(",", ":"))
        self._host.log(
            worker_pb2.LogLine(
                task_id=self.task_id,
                attempt=self.attempt,
                at_us=time.time_ns() // 1000,
                level=level,
                message=clean_text(str(message), _LONGEST_MESSAGE),
                metadata=metadata.replace("\\u0000", "\\ufffd"),
            )
        )

    def progress(self, done: float) -> None:
        """Tell how far the task is.

        Args:
            done: From 0.0 to 1.0.
        """
        if not 0 <= done <= 1:
            raise ValueError(f"progress({done}) is out of range: use 0.0 to 1.0")
        self.log(f"progress {done:.0%}", progress=done)

    # -- being stopped ---------------------------------------------------------------------------------------------

    @property
    def cancelled(self) -> bool:
        """Whether this attempt should stop: cancelled, timed out, superseded, or the worker is going away.

        An `async` task is cancelled as any asyncio task is. A plain one runs on until it returns, so it should look at
        this flag from time to time; its slot is taken until it has really ended.
        """
        return self.cancel_reason is not None

    async def wait_cancelled(self) -> None:
        """Return once `cancelled` is set."""
        if self._event is None:
            self._loop = asyncio.get_running_loop()
            self._event = asyncio.Event()
        if self.cancel_reason is not None:
            return
        await self._event.wait()

    def _cancel(self, reason: CancelReason) -> None:
        """Set the flag; from any thread."""
        self.cancel_reason = reason
        event, loop = self._event, self._loop
        if event is not None and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(event.set)

    # -- asking the engine -----------------------------------------------------------------------------------------

    def refresh_timeout(self, by: timedelta) -> Call[datetime]:
        """Give this attempt more time.

        Args:
            by: How much later than now planned it may end.

        Returns:
            When it will time out.
        """
        if by <= timedelta(0):
            raise ValueError(f"refresh_timeout({by}) is not positive")
        gateway = self._gateway("refresh_timeout")
        request = dispatcher_pb2.RefreshTimeoutRequest(
            task_run_external_id=self.task_id, increment_timeout_by=format_duration(milliseconds(by))
        )

        def finish(response: dispatcher_pb2.RefreshTimeoutResponse) -> datetime:
            self._host.extend_deadline(self, by)
            moment: datetime = response.timeout_at.ToDatetime(tzinfo=UTC)
            return moment

        # Not repeated after a lost answer: it would add the time twice.
        return gateway.call(
            "ctx.refresh_timeout(...)",
            lambda: gateway.unary("/Dispatcher/RefreshTimeout", request, repeatable=False),
            finish,
        )

    def release_slot(self) -> Call[None]:
        """Give this attempt's slot back while it still runs, e.g. for a long wait on something else."""
        gateway = self._gateway("release_slot")
        request = dispatcher_pb2.ReleaseSlotRequest(task_run_external_id=self.task_id)
        return gateway.call(
            "ctx.release_slot()",
            lambda: gateway.unary("/Dispatcher/ReleaseSlot", request, repeatable=True),
            lambda _: None,
        )

    def _gateway(self, what: str) -> Gateway:
        gateway = self._host.gateway
        if gateway is None:
            raise RuntimeError(f"ctx.{what}() needs an engine: this context was made by Context.fake()")
        return gateway

    def _next_child(self) -> int:
        """The number of the next run started in here: the same at each attempt, if the code does the same."""
        if self._children is None:
            self._children = itertools.count()
        return next(self._children)

    @classmethod
    def fake(
        cls,
        task: str = "test",
        *,
        metadata: Mapping[str, Any] | None = None,
        attempt: int = 1,
        outputs: Mapping[WorkflowTask[Any, Any], Any] | None = None,
        skipped: Iterable[WorkflowTask[Any, Any]] = (),
        met: Mapping[EventCondition[Any] | SleepCondition, Any] | None = None,
        errors: Mapping[str, str] | None = None,
    ) -> Context:
        """A context for unit tests that call a task's function directly, without an engine.

        Its log lines are dropped, and what needs an engine raises RuntimeError.

        Args:
            task: Name of the task.
            metadata: As the caller of the run attached it.
            attempt: Number of the attempt.
            outputs: What the parents returned.
            skipped: Parents that were skipped.
            met: What the conditions were met by: payloads of events, and `{}` for sleeps. None: not met.
            errors: For an on_failure task: by the names of tasks, why they failed.
        """
        met = met or {}
        keys: dict[Atom, str] = {condition: str(number) for number, condition in enumerate(met)}
        triggers = {keys[condition]: payload for condition, payload in met.items() if payload is not None}
        delivery = worker_pb2.Delivery(
            task_id="00000000-0000-7000-8000-000000000000",
            attempt=attempt,
            retries_used=attempt - 1,
            priority=1,
            metadata=encode_metadata(metadata or {}),
            parents={parent.name: parent.output.encode(value) for parent, value in (outputs or {}).items()}
            | {parent.name: SKIPPED_OUTPUT for parent in skipped},
            triggers=json.dumps(triggers),
            errors=errors,
        )
        return cls(task, delivery, _NoHost(), keys=keys)

    def __repr__(self) -> str:
        return f"<Context of {self.task}, run {self.run_id}, attempt {self.attempt}>"


class _NoHost:
    labels: Mapping[str, str] = {}
    gateway: Gateway | None = None

    def log(self, line: worker_pb2.LogLine) -> None:
        pass

    def extend_deadline(self, context: Context, by: timedelta) -> None:
        pass


def clean_text(text: str, longest: int) -> str:
    """Text that Postgres and protobuf can hold: no NUL, no half characters, not too long."""
    if len(text) > longest:
        text = f"{text[:longest]}... ({len(text) - longest} characters cut off)"
    if "\x00" in text:
        text = text.replace("\x00", "\\x00")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text
