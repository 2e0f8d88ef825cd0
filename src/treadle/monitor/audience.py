"""Those who wait for news of runs. News is pushed; a table is read once per wait, for what ended before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog

from treadle.engine.catalog import RUN_STEP
from treadle.engine.ports import Ended
from treadle.monitor.steps import ends_of, steps_of
from treadle.storage.read import ended_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from treadle.engine.catalog import Catalog
    from treadle.engine.ports import Happening, StepEnd
    from treadle.storage.database import Database
    from treadle.storage.read import EndedRow

_log = structlog.get_logger()

_LOOKED_UP_AT_ONCE = 2000
_WORKFLOW_RUNS_AT_ONCE = 100
_RETRY_PAUSE = 0.5


class Waiter(Protocol):
    """Someone who waits for the ends of runs."""

    @property
    def wants_steps(self) -> bool:
        """Whether the end of a workflow run is of use to it only with the results of its tasks, which must be read."""
        ...

    def ended(self, ended: Ended, steps: Sequence[StepEnd] = ()) -> None:
        """A run has ended; a workflow run, with these tasks."""
        ...

    def unknown(self, task_id: str) -> None:
        """There is no such run in the waiter's tenant."""
        ...


class Follower(Protocol):
    """Someone who follows what happens to one run."""

    def happened(self, happening: Happening) -> None:
        """Something happened to it, or to one of its tasks."""
        ...


class RunAudience:
    """Connects the engine's loop with those who wait.

    Args:
        database: where the results of runs are that ended before anyone asked.
        catalog: names of their tasks.
        alive: whether the loop holds a run in memory, so that its end is yet to be told and no table need be asked.
    """

    def __init__(self, database: Database, catalog: Catalog, alive: Callable[[int, str], bool]) -> None:
        self._database = database
        self._catalog = catalog
        self._alive = alive
        self._waiting: dict[tuple[int, str], list[Waiter]] = {}
        self._following: dict[str, list[Follower]] = {}
        self._to_look_up: dict[tuple[int, str], None] = {}
        self._wanted = asyncio.Event()
        # Asks the engine that owns the tenant, when it is another one, to tell of these ends.
        self.elsewhere: Callable[[int, list[str]], None] = lambda _tenant_id, _task_ids: None

    # -- told by the loop ----------------------------------------------------------------------------------------

    def tell_ended(self, ended: Sequence[Ended]) -> None:
        """Runs have ended, durably."""
        waiting = self._waiting
        if waiting:
            for entry in ended:
                waiters = waiting.pop((entry.kind.tenant_id, entry.task_id), None)
                if waiters is None:
                    continue
                if entry.kind.step == RUN_STEP:
                    self._tell_of_workflow_run(entry, waiters)
                    continue
                for waiter in waiters:
                    waiter.ended(entry)

    def _tell_of_workflow_run(self, ended: Ended, waiters: list[Waiter]) -> None:
        """Those who want to know of its tasks as well wait until these have been read, unless the engine knows."""
        patient = [waiter for waiter in waiters if waiter.wants_steps]
        steps = ended.steps() if patient and ended.steps is not None else None
        if patient and steps is None:
            key = (ended.kind.tenant_id, ended.task_id)
            self._waiting[key] = patient
            self._to_look_up[key] = None
            self._wanted.set()
            waiters = [waiter for waiter in waiters if not waiter.wants_steps]
        for waiter in waiters:
            waiter.ended(ended, steps or ())

    @property
    def followed(self) -> Container[str | None]:
        """The runs whose events someone follows live."""
        return self._following

    def tell_happened(self, happenings: Sequence[Happening]) -> None:
        """Something happened to runs."""
        following = self._following
        if following:
            for happening in happenings:
                for follower in following.get(happening.task_id, ()):
                    follower.happened(happening)
                if happening.run_id is not None:
                    for follower in following.get(happening.run_id, ()):
                        follower.happened(happening)

    def look_again(self) -> None:
        """The database was away: ask it about everything that is waited for."""
        self._to_look_up.update(dict.fromkeys(self._waiting))
        self._wanted.set()
        by_tenant: dict[int, list[str]] = {}
        for tenant_id, task_id in self._waiting:
            by_tenant.setdefault(tenant_id, []).append(task_id)
        for tenant_id, task_ids in by_tenant.items():
            self.elsewhere(tenant_id, task_ids)

    # -- asked by streams ----------------------------------------------------------------------------------------

    def wait_for(self, tenant_id: int, task_ids: Iterable[str], waiter: Waiter) -> None:
        """Tell `waiter` once when each of these runs has ended, also if it had ended before."""
        alive = self._alive
        task_ids = list(task_ids)
        self.elsewhere(tenant_id, task_ids)
        for task_id in task_ids:
            key = (tenant_id, task_id)
            waiters = self._waiting.setdefault(key, [])
            if waiter not in waiters:
                waiters.append(waiter)
            if not alive(tenant_id, task_id):
                self._to_look_up[key] = None
        if self._to_look_up:
            self._wanted.set()

    def stop_waiting(self, tenant_id: int, task_ids: Iterable[str], waiter: Waiter) -> None:
        """A waiter has gone."""
        for task_id in task_ids:
            waiters = self._waiting.get((tenant_id, task_id))
            if waiters is not None and waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    del self._waiting[tenant_id, task_id]

    def follow(self, task_id: str, follower: Follower) -> None:
        """Tell `follower` what happens to a run from now on."""
        self._following.setdefault(task_id, []).append(follower)

    def unfollow(self, task_id: str, follower: Follower) -> None:
        """A follower has gone."""
        followers = self._following.get(task_id)
        if followers is not None:
            followers.remove(follower)
            if not followers:
                del self._following[task_id]

    def followers(self, task_id: str) -> Sequence[Follower]:
        """Those who follow a run now."""
        return tuple(self._following.get(task_id, ()))

    async def run(self) -> None:
        """Look up what ended before it was waited for, many runs a query, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._to_look_up:
                keys = list(self._to_look_up)[:_LOOKED_UP_AT_ONCE]
                for key in keys:
                    del self._to_look_up[key]
                try:
                    await self._look_up(keys)
                except Exception as problem:  # noqa: BLE001 - whatever it is, those who wait still wait
                    _log.warning("could not look up runs that are waited for; trying again", problem=repr(problem))
                    self._to_look_up.update(dict.fromkeys(keys))
                    await asyncio.sleep(_RETRY_PAUSE)

    async def _look_up(self, keys: list[tuple[int, str]]) -> None:
        by_tenant: dict[int, list[str]] = {}
        for key in keys:
            if key in self._waiting:
                by_tenant.setdefault(key[0], []).append(key[1])
        for tenant_id, ids in by_tenant.items():
            async with self._database.connection() as conn:
                rows = await ended_runs(conn, tenant_id=tenant_id, ids=ids)
                await self._catalog.load_versions(conn, (row.version for row in rows))
                workflow_runs = [row for row in rows if row.step == RUN_STEP and row.status is not None]
                for row in rows:
                    if row.step != RUN_STEP:
                        self._tell(tenant_id, row, ())
                # Not all at once: each comes with the outputs of its tasks.
                for first in range(0, len(workflow_runs), _WORKFLOW_RUNS_AT_ONCE):
                    some = workflow_runs[first : first + _WORKFLOW_RUNS_AT_ONCE]
                    versions = {row.id: row.version for row in some}
                    steps = await steps_of(conn, self._catalog, tenant_id=tenant_id, runs=versions, payloads=True)
                    for row in some:
                        self._tell(tenant_id, row, ends_of(steps[row.id]))
            for task_id in set(ids) - {row.id for row in rows}:
                for waiter in tuple(self._waiting.get((tenant_id, task_id), ())):
                    waiter.unknown(task_id)

    def _tell(self, tenant_id: int, row: EndedRow, steps: Sequence[StepEnd]) -> None:
        """Tell those who wait of an end that has been read, if it is one."""
        if row.status is None:
            return
        kind = self._catalog.kind(row.version, row.step)
        ended = Ended(kind, row.id, 0, row.status, 0, None, None, None, row.error, row.output, row.run_id)
        for waiter in self._waiting.pop((tenant_id, row.id), ()):
            waiter.ended(ended, steps)
