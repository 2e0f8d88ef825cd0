"""Requests to cancel or replay runs, named or found by a filter."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from treadle.engine.commands import Cancel, Replay
from treadle.model.errors import InvalidInput
from treadle.model.ids import canonical_id
from treadle.storage.find import RunFilter, find_runs
from treadle.wire.convert import datetime_of, statuses_named, statuses_of, time_us
from treadle.wire.gen.hatchet.v1 import workflows_pb2 as pb
from treadle.wire.gen.treadle.v1 import runs_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.engine.inbox import Door
    from treadle.storage.database import Database
    from treadle.wire.serving import Caller, Handlers

MAX_SELECTED = 10_000
"""Most runs that one request changes; a filter that finds more changes the newest ones."""

_AT_ONCE = 1000


class Selections:
    """Serves cancel and replay for both contracts.

    Args:
        inbox: the engine's loop.
        database: where runs are found.
    """

    def __init__(self, *, inbox: Door, database: Database) -> None:
        self._inbox = inbox
        self._database = database

    def handlers(self) -> Handlers:
        """What this module serves."""
        return {
            "/v1.AdminService/CancelTasks": self.cancel_tasks,
            "/v1.AdminService/ReplayTasks": self.replay_tasks,
            "/treadle.v1.Runs/Cancel": self.cancel_runs,
            "/treadle.v1.Runs/Replay": self.replay_runs,
        }

    async def cancel_tasks(self, request: pb.CancelTasksRequest, caller: Caller) -> pb.CancelTasksResponse:
        """Cancel, in the words of the Hatchet contract."""
        return pb.CancelTasksResponse(cancelled_tasks=await self.cancel(await self._tasks(request, caller), caller))

    async def replay_tasks(self, request: pb.ReplayTasksRequest, caller: Caller) -> pb.ReplayTasksResponse:
        """Replay, in the words of the Hatchet contract."""
        return pb.ReplayTasksResponse(replayed_tasks=await self.replay(await self._tasks(request, caller), caller))

    async def cancel_runs(self, request: runs_pb2.SelectRuns, caller: Caller) -> runs_pb2.ChangedRuns:
        """Cancel runs that have not ended."""
        ids = await self._runs(request, caller)
        return runs_pb2.ChangedRuns(ids=await self.cancel(ids, caller, children=request.children))

    async def replay_runs(self, request: runs_pb2.SelectRuns, caller: Caller) -> runs_pb2.ChangedRuns:
        """Run ended runs again."""
        return runs_pb2.ChangedRuns(ids=await self.replay(await self._runs(request, caller), caller))

    async def cancel(self, ids: Sequence[str], caller: Caller, *, children: bool = False) -> list[str]:
        """Cancel runs by id, and with `children` what they have spawned; returns those that this call cancelled."""
        changed: list[str] = []
        for first in range(0, len(ids), _AT_ONCE):
            future: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
            some = list(ids[first : first + _AT_ONCE])
            await self._inbox.put_when_owned(Cancel(caller.tenant_id, some, future, children))
            changed += await future
        return changed

    async def replay(self, ids: Sequence[str], caller: Caller) -> list[str]:
        """Replay runs by id; returns those that will run again."""
        changed: list[str] = []
        for first in range(0, len(ids), _AT_ONCE):
            future: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
            await self._inbox.put_when_owned(Replay(caller.tenant_id, list(ids[first : first + _AT_ONCE]), future))
            changed += await future
        return changed

    async def find(self, wanted: RunFilter, caller: Caller) -> list[str]:
        """Ids of the runs that a filter selects, newest first."""
        async with self._database.connection() as conn:
            return await find_runs(conn, tenant_id=caller.tenant_id, wanted=wanted, limit=MAX_SELECTED)

    async def _tasks(self, request: pb.CancelTasksRequest | pb.ReplayTasksRequest, caller: Caller) -> list[str]:
        if not request.HasField("filter"):
            return checked_ids(request.external_ids, "external_ids")
        if request.external_ids:
            raise InvalidInput("filter", "give either external_ids or a filter, not both")
        chosen = request.filter
        return await self.find(
            RunFilter(
                statuses=statuses_named(chosen.statuses, "filter.statuses"),
                since=datetime_of(time_us(chosen.since, "filter.since")) if chosen.HasField("since") else None,
                until=datetime_of(time_us(chosen.until, "filter.until")) if chosen.HasField("until") else None,
                workflow_ids=checked_ids(chosen.workflow_ids, "filter.workflow_ids"),
                metadata=metadata_pairs(chosen.additional_metadata, "filter.additional_metadata"),
            ),
            caller,
        )

    async def _runs(self, request: runs_pb2.SelectRuns, caller: Caller) -> list[str]:
        if not request.HasField("filter"):
            return checked_ids(request.ids, "ids")
        if request.ids:
            raise InvalidInput("filter", "give either ids or a filter, not both")
        chosen = request.filter
        return await self.find(
            RunFilter(
                statuses=statuses_of(chosen.statuses, "filter.statuses"),
                since=datetime_of(time_us(chosen.since, "filter.since")) if chosen.HasField("since") else None,
                until=datetime_of(time_us(chosen.until, "filter.until")) if chosen.HasField("until") else None,
                names=list(chosen.tasks),
                metadata=sorted(chosen.metadata.items()),
            ),
            caller,
        )


def checked_ids(texts: Sequence[str], field: str) -> list[str]:
    """UUIDs as they are used inside.

    Raises:
        InvalidInput: one of them is none.
    """
    ids = []
    for index, text in enumerate(texts):
        found = canonical_id(text)
        if found is None:
            raise InvalidInput(f"{field}[{index}]", f"{text[:64]!r} is not a UUID")
        ids.append(found)
    return ids


def metadata_pairs(texts: Sequence[str], field: str) -> list[tuple[str, str]]:
    """`key:value` texts, split at the first colon.

    Raises:
        InvalidInput: one of them has no colon.
    """
    pairs = []
    for index, text in enumerate(texts):
        key, colon, value = text.partition(":")
        if not colon or not key:
            raise InvalidInput(f"{field}[{index}]", f"{text[:64]!r} is not of the form key:value")
        pairs.append((key, value))
    return pairs
