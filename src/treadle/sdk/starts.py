"""Starting runs: calls made at the same time share a request."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from treadle.model.errors import InvalidInput, TreadleError
from treadle.sdk.io import Reply, settle_all
from treadle.wire.gen.treadle.v1 import runs_pb2
from treadle.wire.status import error_of

if TYPE_CHECKING:
    from treadle.sdk.gateway import Gateway

MAX_RUNS = 1000
_HEADROOM = 512 * 1024
_ITEM_OVERHEAD = 128
_IN_FLIGHT = 2

_PATH = "/treadle.v1.Runs/Start"


class _Item(NamedTuple):
    run: runs_pb2.NewRun
    reply: Reply[Any]
    wait: bool  # for the result, not just for the id
    size: int


class Starter:
    """Collects runs to start and sends them in batches.

    A batch leaves at once when nothing is under way; while two are, what comes in waits and leaves together. The queue
    needs no bound of its own: each waiting run belongs to a caller that waits with it.
    """

    def __init__(self, gateway: Gateway, *, repeatable: bool) -> None:
        self._gateway = gateway
        self._repeatable = repeatable
        self._waiting: deque[_Item] = deque()
        self._woken = False
        self._under_way = 0

    def submit(self, run: runs_pb2.NewRun, reply: Reply[Any], *, wait: bool) -> None:
        """Start a run; from any thread. The reply gets its id, or its result when `wait` is set."""
        self._waiting.append(_Item(run, reply, wait, size_of(run)))
        # Set only here and cleared before the queue is emptied, so an item is never left behind.
        if not self._woken:
            self._woken = True
            self._gateway.io.post(self._wake)

    def _wake(self) -> None:
        self._woken = False
        while self._waiting and self._under_way < _IN_FLIGHT:
            self._under_way += 1
            self._gateway.io.spawn(self._send(self._take()))

    def _take(self) -> list[_Item]:
        limit = batch_bytes(self._gateway.connection.max_message_bytes)
        batch = [self._waiting.popleft()]
        total = batch[0].size
        while self._waiting and len(batch) < MAX_RUNS and total + self._waiting[0].size <= limit:
            item = self._waiting.popleft()
            batch.append(item)
            total += item.size
        return batch

    async def _send(self, batch: list[_Item]) -> None:
        try:
            outcomes = await self.start([item.run for item in batch])
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller
            settle_all((item.reply, error) for item in batch)
        else:
            answers: list[tuple[Reply[Any], Any]] = []
            for item, outcome in zip(batch, outcomes, strict=True):
                if item.wait and isinstance(outcome, str):
                    self._gateway.results.watch(outcome, item.reply)
                else:
                    answers.append((item.reply, outcome))
            settle_all(answers)
        finally:
            self._under_way -= 1
            self._wake()

    async def start(self, runs: list[runs_pb2.NewRun]) -> list[str | TreadleError]:
        """Start up to 1000 runs in one request; on the I/O thread.

        Starting a run twice makes two runs, so a request without an answer is not repeated: the engine may have seen it.
        Runs under a parent are the exception, see `Gateway`.
        """
        response: runs_pb2.StartResponse = await self._gateway.unary(
            _PATH, runs_pb2.StartRequest(runs=runs, ids_suffice=True), repeatable=self._repeatable
        )
        outcomes: list[str | TreadleError] = list(response.run_ids)
        for outcome in response.outcomes:
            if outcome.HasField("problem"):
                problem = outcome.problem
                outcomes.append(error_of(problem.code, problem.field, problem.message))
            else:
                outcomes.append(outcome.run_id)
        if len(outcomes) != len(runs):
            raise TreadleError("", f"the engine answered {len(outcomes)} of {len(runs)} starts")
        return outcomes


def size_of(run: runs_pb2.NewRun) -> int:
    """About what a run adds to a request, in bytes."""
    return len(run.input) + len(run.metadata) + _ITEM_OVERHEAD


def batch_bytes(max_message_bytes: int) -> int:
    """How much to put into one request: below the limit, as sizes are estimates."""
    return max(max_message_bytes - _HEADROOM, max_message_bytes // 2)


def check_size(run: runs_pb2.NewRun, max_message_bytes: int) -> None:
    """Refuse a run that cannot travel, while its caller can still be named."""
    if (size := size_of(run)) > max_message_bytes - 1024:
        raise InvalidInput(
            f"{run.task} input",
            f"is {size / 2**20:.1f} MiB with its metadata; messages hold at most {max_message_bytes / 2**20:.1f} MiB: "
            "store the data elsewhere and pass a reference, or raise max_message_bytes here and in the engine",
        )
