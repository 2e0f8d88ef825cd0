"""What must hold after each step, whatever happened: safety by the tables, order and fairness by the decisions."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING
from zlib import crc32

from tests.simulation.tables import Violation, must
from treadle.scheduler.window import END

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from tests.simulation.engine import Engine
    from tests.simulation.tables import Row
    from tests.simulation.world import World
    from treadle.scheduler.events import Assign, Need

PASSED_AT_MOST = 2
"""How often a worker may serve one other queue while a queue waits that it could serve as well: once by its order of
turns, once more when both had fresh work in the same tick."""


class Checks:
    """The invariants.

    Args:
        world: what is checked.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        # For each queue that waits: what its head needs, and how often each (worker, other queue) was served meanwhile.
        self._passed: dict[int, tuple[Need, dict[tuple[str, int], int]]] = {}
        self.assigned = 0
        # Of every decision so far: the same seed must give the same history.
        self.trace = 0
        self.most_passed = 0

    # -- things that begin the count anew ------------------------------------------------------------------------

    def reloaded(self, tenants: Container[int]) -> None:
        """Turns are not durable: another memory, other turns."""
        for queue_id in [q for q in self._passed if self._world.tenant_of_queue(q) in tenants]:
            del self._passed[queue_id]

    def counted_anew(self, worker_id: str) -> None:
        """A worker has joined, with its turns in their first order."""
        for _, passed in self._passed.values():
            for key in [key for key in passed if key[0] == worker_id]:
                del passed[key]

    # -- after a commit ------------------------------------------------------------------------------------------

    def committed(self, engine: Engine, decided: Sequence[Assign]) -> None:
        """Check the decisions of a commit that the tables have taken in."""
        world = self._world
        must(len(decided) <= world.limit, "more given than the limit")
        self.assigned += len(decided)
        last: dict[int, tuple[int, int]] = {}
        for decision in decided:
            item, worker_id = decision.item, decision.worker_id
            self.trace = crc32(f"{item.task_id} {item.attempt} {worker_id}".encode(), self.trace)
            worker = engine.joined.get(worker_id)
            if worker is None:
                raise Violation(f"given to {worker_id}, which is not connected")
            must(worker_id not in engine.resting, "given to", worker_id, "which rests")
            must(item.kind.queue_id in worker.queues, worker_id, "does not serve queue", item.kind.queue_id)
            must(item.kind.tenant_id == worker.tenant_id, "given to another tenant's worker")
            key = (item.rank, item.position)
            must(last.get(item.kind.queue_id, key) <= key, "out of order within a commit:", key)
            last[item.kind.queue_id] = key
        for queue_id, key in last.items():
            rows = world.tables.queues.get(queue_id)
            must(not rows or key < rows[0].key, "overtook:", key, "went before", rows and rows[0].key)
        for worker_id, slot_type in {(d.worker_id, slot_type) for d in decided for slot_type, _ in d.item.kind.slots}:
            self._check_capacity(engine, worker_id, slot_type)
        self._count_passed(engine, decided, last)

    def _check_capacity(self, engine: Engine, worker_id: str, slot_type: str) -> None:
        """Whoever was given something is not above its capacity then, with what still lingers there."""
        units = self._used(engine, worker_id)[slot_type]
        capacity = engine.counted[worker_id].get(slot_type, 0)
        must(units <= capacity, "overrun:", worker_id, "uses", units, slot_type, "of", capacity)

    def _used(self, engine: Engine, worker_id: str) -> dict[str, int]:
        used: dict[str, int] = defaultdict(int)
        for run in self._world.tables.by_worker.get(worker_id, {}).values():
            if run.holds_slot:
                for slot_type, units in run.task.kind.slots:
                    used[slot_type] += units
        for holder, need in engine.lingering.values():
            if holder == worker_id:
                for slot_type, units in need:
                    used[slot_type] += units
        return used

    def _count_passed(self, engine: Engine, decided: Sequence[Assign], served: Container[int]) -> None:
        waiting: dict[int, Row] = {}
        for queue_id, rows in self._world.tables.queues.items():
            if self._world.tenant_of_queue(queue_id) in engine.tenants:
                if rows and queue_id not in served:
                    waiting[queue_id] = rows[0]
                else:
                    self._passed.pop(queue_id, None)
        for queue_id, head in waiting.items():
            need, passed = self._passed.get(queue_id, ((), {}))
            if need != head.task.kind.slots:
                need, passed = self._passed[queue_id] = (head.task.kind.slots, {})
            for decision in decided:
                kind = decision.item.kind
                if kind.slots == need and queue_id in engine.joined[decision.worker_id].queues:
                    key = (decision.worker_id, kind.queue_id)
                    count = passed[key] = passed.get(key, 0) + 1
                    self.most_passed = max(self.most_passed, count)
                    must(count <= PASSED_AT_MOST, "starved: queue", queue_id, "waits while", key, "is served again")

    # -- after each step -----------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Check what every engine that owns something believes."""
        world = self._world
        for engine in world.engines.values():
            if engine.tenants and not engine.paused and world.tables.live(engine.id):
                used = {worker_id: self._used(engine, worker_id) for worker_id in engine.joined}
                self._check_slots(engine, used)
                self._check_windows(engine)
                if engine.quiet:
                    self._check_diligence(engine, used)

    @staticmethod
    def _check_slots(engine: Engine, used_by: Mapping[str, Mapping[str, int]]) -> None:
        for worker_id, worker in engine.joined.items():
            free = engine.core.free(worker_id)
            if free is None:
                # Its joining waits for the next commit.
                continue
            used = used_by[worker_id]
            capacity = engine.counted[worker_id]
            for slot_type in {*free, *used}:
                right = capacity.get(slot_type, 0) - used.get(slot_type, 0)
                must(free.get(slot_type, 0) == right, "slots of", worker.id, "leaked or doubled:", right, "and", free)

    def _check_windows(self, engine: Engine) -> None:
        """A window is the front part of its queue, and bounded."""
        tables = self._world.tables
        window = self._world.window
        core = engine.core
        held = 0
        for line in core._lines.values():
            held += line.size
            must(line.size <= 2 * window, "a window of", line.size)
            must(line.complete == (line.queue_id not in core._partial), "nobody would read more of", line.queue_id)
            must(not line.complete or line.tail == END, "a whole queue has a cursor:", line.queue_id)
            must(line.gone <= max(64, line.size), "a window with", line.gone, "discarded items")
            count = tables.count_to(line.queue_id, line.tail)
            must(line.size == count, "the window of", line.queue_id, "holds", line.size, "of", count)
        must(held == len(core._items), "windows and index differ")
        for task_id, item in core._items.items():
            row = tables.row_of.get(task_id)
            if row is None:
                raise Violation(f"the window holds {task_id}, the table does not")
            must(row.key == (item.rank, item.position) and row.attempt == item.attempt, "the window is not the table")

    def _check_diligence(self, engine: Engine, used_by: Mapping[str, Mapping[str, int]]) -> None:
        """When nothing is left to do, no head of a queue fits a worker that could take it."""
        for worker in engine.joined.values():
            if worker.id in engine.resting or engine.core.free(worker.id) is None:
                continue
            used = used_by[worker.id]
            for queue_id in worker.queues:
                rows = self._world.tables.queues.get(queue_id)
                if rows:
                    need = rows[0].task.kind.slots
                    counted = engine.counted[worker.id]
                    fits = all(counted.get(t, 0) - used.get(t, 0) >= units for t, units in need)
                    must(not fits, "forgotten: the head of", queue_id, "would fit", worker.id)
