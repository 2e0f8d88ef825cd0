"""The whole: engines, workers and clients around one set of tables, on a clock of their own; and what can happen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tests.scheduler.plain import Need, kind
from tests.simulation.checks import Checks
from tests.simulation.engine import Engine, Superseded
from tests.simulation.tables import EXPIRY, Tables, Task, must
from treadle.scheduler.core import Core

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.simulation.chooser import Chooser
    from treadle.engine.catalog import TaskKind

TENANTS = (1, 2)
NEEDS: tuple[Need, ...] = (
    (("default", 1),),
    (("default", 1),),
    (("default", 2),),
    (("default", 1), ("gpu", 1)),
)
MakeCore = Callable[[int], Core]


@dataclass(eq=False)
class Worker:
    """A worker process, as it is: not as an engine believes."""

    id: str
    tenant_id: int
    queues: tuple[int, ...]
    capacity: dict[str, int]
    resting: bool = False
    engine: Engine | None = None
    # Attempts that its code runs, and those that it was told to stop.
    hand: dict[tuple[str, int], None] = field(default_factory=dict)
    stopping: dict[tuple[str, int], None] = field(default_factory=dict)


class World:
    """A simulation. Everything that happens is chosen by `chooser`, so the same choices are the same history.

    Args:
        chooser: where chances come from.
        make_core: makes a core with a window of this size; a mutant, to see it caught.
    """

    def __init__(self, chooser: Chooser, make_core: MakeCore = lambda window: Core(window=window)) -> None:
        self.chooser = chooser
        self._make_core = make_core
        self.now = 1_000.0
        self.tables = Tables()
        self.checks = Checks(self)
        # So small that everything overflows; the limit so that no window runs dry between two refills.
        self.window = chooser.number(2, 8)
        self.limit = chooser.number(1, self.window // 2 + 1)
        self.retries = chooser.number(0, 3)
        # Above it nothing new is triggered: some worlds are mostly idle, some never see the end of their queues.
        self.most_tasks = chooser.pick((6, 25, 60, 150))
        self.most_slots = chooser.number(2, 8)
        self.kinds: list[TaskKind] = []
        for tenant_id in TENANTS:
            for queue in range(1, 4):
                needs = [chooser.pick(NEEDS) for _ in range(chooser.number(1, 2))]
                self.kinds += [kind(10 * tenant_id + queue, need, tenant_id) for need in needs]
        self.workers = {
            f"w{tenant_id}{name}": Worker(f"w{tenant_id}{name}", tenant_id, (), {})
            for tenant_id in TENANTS
            for name in "abc"
        }
        for worker in self.workers.values():
            self._equip(worker)
        self.engines: dict[str, Engine] = {}
        self._engines_made = 0
        self._tasks_made = 0
        self.refused = 0
        self.lost_commits = 0
        self.start_engine()

    @staticmethod
    def tenant_of_queue(queue_id: int) -> int:
        """Queues are numbered by tenant."""
        return queue_id // 10

    def new_core(self) -> Core:
        """A core that knows nothing."""
        return self._make_core(self.window)

    # -- turns ---------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Something happens; then some engines commit, and all must hold."""
        happen = self.chooser.pick(HAPPENINGS)
        happen(self)
        self.turn(fault=self.chooser.number(0, 99))

    def turn(self, *, fault: int = 99) -> None:
        """A little time passes, the engines look around and commit.

        Args:
            fault: percent; the first few break something.
        """
        self.now += 0.1
        self._look_around()
        for engine in list(self.engines.values()):
            if engine.paused or (fault < 60 and engine.quiet) or (fault < 30 and self.chooser.chance(50)):
                continue
            self._commit(engine, lost={0: "before", 1: "after"}.get(fault, ""))
        self.checks.hold()

    def _commit(self, engine: Engine, *, lost: str = "") -> None:
        self.lost_commits += bool(lost)
        try:
            engine.commit(lost=lost)
        except Superseded:
            self.refused += 1
            self._stop_engine(engine)
            self.start_engine()

    def _look_around(self) -> None:
        """Heartbeats; tenants of the silent go to the living."""
        tables = self.tables
        for engine in self.engines.values():
            if not engine.paused and tables.live(engine.id):
                tables.beats[engine.id] = self.now
        tables.bury(self.now)
        living = [engine for engine in self.engines.values() if not engine.paused and tables.live(engine.id)]
        for tenant_id in TENANTS:
            if living and tenant_id not in tables.owners:
                self._give(tenant_id, living[tenant_id % len(living)])

    def _give(self, tenant_id: int, engine: Engine) -> None:
        self.tables.owners[tenant_id] = engine.id
        engine.load(engine.tenants | {tenant_id})

    def put(self, tenant_id: int, command: Callable[..., None], *args: object) -> None:
        """Hand a command to the tenant's owner; nobody takes it while there is none."""
        engine = self.owner(tenant_id)
        if engine is not None:
            engine.inbox.append((tenant_id, lambda engine, commit: command(engine, commit, *args)))

    def owner(self, tenant_id: int) -> Engine | None:
        """Who owns a tenant by the tables."""
        return self.engines.get(self.tables.owners.get(tenant_id, ""))

    # -- engines -------------------------------------------------------------------------------------------------

    def start_engine(self) -> None:
        """An engine starts; there are never more than three."""
        if len(self.engines) < 3:
            self._engines_made += 1
            engine = Engine(f"e{self._engines_made}", self)
            self.engines[engine.id] = engine
            self.tables.beats[engine.id] = self.now

    def _stop_engine(self, engine: Engine) -> None:
        """It is gone, with what waited in it; streams to it break."""
        del self.engines[engine.id]
        for worker in self.workers.values():
            if worker.engine is engine:
                worker.engine = None

    def kill_engine(self) -> None:
        """Kill -9. Its writer connection breaks, so nobody waits for its silence; or they do."""
        engine = self.chooser.pick(list(self.engines.values()))
        self._stop_engine(engine)
        if self.chooser.chance(50):
            self.tables.beats[engine.id] = self.now - 2 * EXPIRY if self.tables.live(engine.id) else self.now
        if not self.engines:
            self.start_engine()

    def pause_engine(self) -> None:
        """SIGSTOP."""
        self.chooser.pick(list(self.engines.values())).paused = True

    def resume_engines(self) -> None:
        """SIGCONT: they wake up and believe what they believed."""
        for engine in self.engines.values():
            engine.paused = False

    def move_tenant(self) -> None:
        """A clean hand-over between two that live."""
        tenant_id = self.chooser.pick(TENANTS)
        owner = self.owner(tenant_id)
        others = [e for e in self.engines.values() if not e.paused and self.tables.live(e.id) and e is not owner]
        if owner is None or owner.paused or not others:
            return
        other = self.chooser.pick(others)
        stray = [entry for entry in owner.inbox if entry[0] == tenant_id]
        owner.inbox = [entry for entry in owner.inbox if entry[0] != tenant_id]
        owner.load(owner.tenants - {tenant_id})
        self._give(tenant_id, other)
        other.inbox += stray

    def reload_engine(self) -> None:
        """A commit has failed for a reason of its own: memory is thrown away."""
        engine = self.chooser.pick(list(self.engines.values()))
        if not engine.paused and self.tables.live(engine.id):
            engine.load(engine.tenants)

    def long_silence(self) -> None:
        """Time passes: backoffs, time limits, leases."""
        for _ in range(self.chooser.number(1, 4)):
            self.now += self.chooser.number(1, 15)
            self.turn()

    # -- clients -------------------------------------------------------------------------------------------------

    def trigger(self) -> None:
        """A few runs."""
        self._trigger(self.chooser.number(1, 4), (1, 1, 1, 2, 3))

    def trigger_many(self) -> None:
        """More than any window holds, sometimes all of them urgent."""
        self._trigger(self.chooser.number(10, 40), self.chooser.pick(((1, 2, 3), (1,), (2,), (3,))))

    def _trigger(self, count: int, priorities: Sequence[int]) -> None:
        kind = self.chooser.pick(self.kinds)
        if len(self.tables.tasks) < self.most_tasks:
            tasks = []
            for _ in range(count):
                self._tasks_made += 1
                tasks.append(Task(f"t{self._tasks_made}", kind, self.chooser.pick(priorities)))
            self.put(kind.tenant_id, Engine.trigger, tasks)

    def cancel(self) -> None:
        """Some runs, wherever they are."""
        tasks = list(self.tables.tasks.values())
        if tasks:
            tenant_id = self.chooser.pick(tasks).kind.tenant_id
            chosen = [self.chooser.pick(tasks) for _ in range(self.chooser.number(1, 4))]
            self.put(tenant_id, Engine.cancel, [t.id for t in chosen if t.kind.tenant_id == tenant_id])

    def cancel_waiting_of_queue(self) -> None:
        """A whole queue is emptied."""
        rows = self.tables.queues.get(self.chooser.pick(self.kinds).queue_id)
        if rows:
            self.put(rows[0].task.kind.tenant_id, Engine.cancel, [row.task.id for row in rows])

    def cancel_heads(self) -> None:
        """What stands first in its queue, and may have kept others waiting."""
        for tenant_id in TENANTS:
            rows = [rows[0] for queue_id, rows in self.tables.queues.items() if rows and queue_id // 10 == tenant_id]
            self.put(tenant_id, Engine.cancel, [row.task.id for row in rows if self.chooser.chance(50)])

    def replay(self) -> None:
        """One that has ended."""
        if self.tables.recent:
            task = self.chooser.pick(self.tables.recent)
            self.put(task.kind.tenant_id, Engine.replay, task)

    # -- workers -------------------------------------------------------------------------------------------------

    def _equip(self, worker: Worker) -> None:
        queues = [10 * worker.tenant_id + queue for queue in range(1, 4) if self.chooser.chance(75)]
        worker.queues = tuple(queues)
        worker.capacity = {
            "default": self.chooser.number(0, self.most_slots),
            "gpu": self.chooser.number(0, self.most_slots),
        }

    def connect(self, worker: Worker) -> None:
        """Open a stream to the owner of its tenant, if it has none or that one owns it no more."""
        owner = self.owner(worker.tenant_id)
        if owner is not None and worker.engine is not owner:
            if worker.engine is not None:
                worker.engine.inbox.append((worker.tenant_id, partial(Engine.gone, worker=worker)))
            worker.engine = owner
            self.put(worker.tenant_id, Engine.join, worker)

    def workers_connect(self) -> None:
        """Those that have lost their streams, or whose tenant was moved."""
        for worker in self.workers.values():
            if self.chooser.chance(75):
                self.connect(worker)

    def worker_comes_again(self) -> None:
        """With other slots and queues, and with what it has in hand."""
        worker = self._any_worker()
        self._break(worker)
        self._equip(worker)
        worker.resting = False
        self.connect(worker)

    def worker_breaks(self) -> None:
        """Its stream closes."""
        self._break(self._any_worker())

    def _break(self, worker: Worker) -> None:
        if worker.engine is not None:
            engine, worker.engine = worker.engine, None
            engine.inbox.append((worker.tenant_id, partial(Engine.gone, worker=worker)))

    def worker_lost(self) -> None:
        """Silent for too long."""
        worker = self._any_worker()
        self.put(worker.tenant_id, Engine.lose, worker)

    def worker_rests_or_resumes(self) -> None:
        """Asked to, or silent for a moment."""
        worker = self._any_worker()
        worker.resting = not worker.resting and self.chooser.chance(60)
        self.put(worker.tenant_id, Engine.rest, worker)

    def _any_worker(self) -> Worker:
        return self.chooser.pick(list(self.workers.values()))

    def report(self) -> None:
        """Workers report on some of what they have in hand, be it current or not."""
        for worker in self.workers.values():
            for key in list(worker.hand)[: self.chooser.number(0, 3)]:
                outcome = self.chooser.number(0, 9)
                if outcome < 7:
                    self.put(worker.tenant_id, Engine.complete, worker.id, *key)
                elif outcome < 9:
                    self.put(worker.tenant_id, Engine.fail, worker.id, *key, float(self.chooser.pick((0, 0, 2, 20))))
                else:
                    self.put(worker.tenant_id, Engine.hand_back, worker.id, *key)
            for key in list(worker.stopping)[: self.chooser.number(0, 2)]:
                del worker.stopping[key]
                if worker.engine is not None and worker.engine is self.owner(worker.tenant_id):
                    self.put(worker.tenant_id, Engine.stopped, worker.id, *key)

    def release_slot(self) -> None:
        """One that runs wants its slot no more."""
        runs = list(self.tables.running.values())
        if runs:
            task = self.chooser.pick(runs).task
            self.put(task.kind.tenant_id, Engine.release_slot, task.id)

    # -- in the end ----------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Everything heals, nothing new comes: all that was accepted ends, in bounded time."""
        for engine in self.engines.values():
            engine.paused = False
        for worker in self.workers.values():
            self._break(worker)
            worker.resting = False
            worker.queues = tuple(10 * worker.tenant_id + queue for queue in range(1, 4))
            worker.capacity = {"default": 4, "gpu": 2}
        turns = 0
        while self.tables.tasks or any(engine.inbox for engine in self.engines.values()):
            turns += 1
            must(turns < 3_000, "stuck:", len(self.tables.tasks), "tasks do not end")
            self.now += 1.0
            for worker in self.workers.values():
                self.connect(worker)
                for key in list(worker.hand):
                    self.put(worker.tenant_id, Engine.complete, worker.id, *key)
                for key in list(worker.stopping):
                    del worker.stopping[key]
                    self.put(worker.tenant_id, Engine.stopped, worker.id, *key)
            self.turn()


WEIGHTS: tuple[tuple[int, Callable[[World], None]], ...] = (
    (20, World.trigger),
    (3, World.trigger_many),
    (40, World.report),
    (5, World.cancel),
    (4, World.cancel_heads),
    (1, World.cancel_waiting_of_queue),
    (3, World.replay),
    (3, World.release_slot),
    (10, World.workers_connect),
    (4, World.worker_comes_again),
    (2, World.worker_breaks),
    (2, World.worker_lost),
    (4, World.worker_rests_or_resumes),
    (1, World.start_engine),
    (1, World.kill_engine),
    (1, World.pause_engine),
    (4, World.resume_engines),
    (1, World.move_tenant),
    (1, World.reload_engine),
    (2, World.long_silence),
)
HAPPENINGS = tuple(happening for weight, happening in WEIGHTS for _ in range(weight))
