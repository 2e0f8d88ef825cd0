"""Workflow runs of several tasks on the engine of these tests: made, worked on by name, and looked at."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.engine.fakes import Delivered, FakeWorker
from tests.engine.harness import TENANT, Answered, Engine
from treadle.engine.catalog import TaskKind
from treadle.engine.commands import Completed, Failed
from treadle.engine.put_workflow import put_workflow
from treadle.model.definition import Conditions, TaskDefinition, WorkflowDefinition
from treadle.model.ids import step_id
from treadle.model.states import EventKind, RunStatus


def step(
    name: str, *parents: str, conditions: Conditions | None = None, action: str = "flow:any", **fields: Any
) -> TaskDefinition:
    """A task of a workflow; all share a queue, so that one worker can run them."""
    return TaskDefinition(name, action, parents=parents, conditions=conditions, **fields)


class Flow:
    """A workflow with a worker of many slots that runs what it is told to, by name."""

    def __init__(self, engine: Engine, kind: TaskKind, queue: TaskKind, worker: FakeWorker) -> None:
        self.engine = engine
        self.kind = kind
        self.queue = queue
        self.worker = worker
        self._seen = 0
        assert kind.plan is not None
        self.names = kind.plan.names

    async def start(self, payload: bytes = b"{}", **fields: Any) -> str:
        """Start a run; its id."""
        [run_id] = await self.engine.trigger(self.engine.task(self.kind, payload=payload, **fields))
        return run_id

    def id(self, run_id: str, name: str) -> str:
        """The id of a task of a run."""
        return step_id(run_id, self.names.index(name))

    def got(self, run_id: str, name: str) -> Delivered:
        """The last delivery of a task."""
        return [item for item in self.worker.got if item.task_id == self.id(run_id, name)][-1]

    def delivered(self) -> list[str]:
        """Names of what was delivered since the last call, sorted."""
        names = sorted(item.name for item in self.worker.got[self._seen :])
        self._seen = len(self.worker.got)
        return names

    async def complete(self, run_id: str, *names: str, output: bytes | None = b"{}") -> Answered:
        """Let running tasks succeed, in one commit."""
        return await self.engine.report(self.worker, completed=self.done(run_id, *names, output=output))

    def done(self, run_id: str, *names: str, output: bytes | None = b"{}") -> list[Completed]:
        """Reports of success of the current attempts."""
        return [
            Completed(self.id(run_id, name), self.got(run_id, name).attempt, output, self.engine.clock.now())
            for name in names
        ]

    async def fail(self, run_id: str, *names: str, error: str = "Boom") -> Answered:
        """Let running tasks fail for good, in one commit."""
        return await self.engine.report(
            self.worker, failed=[self.failure(run_id, name, error, should_not_retry=True) for name in names]
        )

    def failure(self, run_id: str, name: str, error: str = "Boom", *, should_not_retry: bool = False) -> Failed:
        """A report of failure of the current attempt."""
        return Failed(self.id(run_id, name), self.got(run_id, name).attempt, error, should_not_retry, None, None)

    async def hire(self, slots: int = 100) -> None:
        """Connect another worker, and go on with that."""
        self._seen = 0
        self.worker = await self.engine.worker(self.queue, slots=slots)

    async def restart(self) -> None:
        """Another loop takes over; the worker comes back with what it has."""
        rows = await self.engine.fetch(
            "SELECT task_id::text, attempt FROM treadle.attempt WHERE worker_id = $1", self.worker.worker_id
        )
        await self.engine.restart()
        self.engine.connect(self.worker, in_hand={(row["task_id"], row["attempt"]) for row in rows})
        await self.engine.settle()

    async def results(self, run_id: str) -> dict[str, RunStatus]:
        """How the tasks of a run have ended, by name; those that have not are left out."""
        return {name: status for name, (status, _, _) in (await self.endings(run_id)).items()}

    async def endings(self, run_id: str) -> dict[str, tuple[RunStatus, str | None, bytes | None]]:
        """Status, error and output of the tasks that have ended, by name."""
        rows = await self.engine.fetch(
            "SELECT t.step, r.status, r.error, r.output FROM treadle.task t JOIN treadle.task_result r "
            "ON r.tenant_id = t.tenant_id AND r.id = t.id WHERE t.run_id = $1 ORDER BY t.step",
            run_id,
        )
        return {self.names[row["step"]]: (RunStatus(row["status"]), row["error"], row["output"]) for row in rows}

    async def status(self, run_id: str) -> RunStatus | None:
        """How the run has ended, if it has."""
        found = await self.engine.value("SELECT status FROM treadle.task_result WHERE id = $1", run_id)
        return None if found is None else RunStatus(found)

    async def notes(self, run_id: str, name: str) -> list[EventKind]:
        """The history of a task."""
        return [kind for kind, _ in await self.engine.events(self.id(run_id, name))]


async def flow(
    engine: Engine,
    *tasks: TaskDefinition,
    name: str = "flow",
    on_failure: TaskDefinition | None = None,
    slots: int = 100,
    tenant_id: int = TENANT,
    worker: bool = True,
) -> Flow:
    """Register a workflow, with a worker for it."""
    definition = WorkflowDefinition(name, tasks, on_failure=on_failure)
    await put_workflow(
        definition, tenant_id=tenant_id, database=engine.database, catalog=engine.catalog, now=engine.clock.now()
    )
    kind = await engine.catalog.current(tenant_id, name)
    queue = engine.catalog.kind(kind.version, 0)
    connected = await engine.worker(*([queue] if worker else []), slots=slots, tenant_id=tenant_id)
    return Flow(engine, kind, queue, connected)


def chain(length: int) -> Sequence[TaskDefinition]:
    """Tasks s0, s1, ... each the parent of the next."""
    return [step(f"s{n}", *([f"s{n - 1}"] if n else [])) for n in range(length)]


DIAMOND = (step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c"))


async def run_to_the_end(made: Flow, run_id: str, outputs: Mapping[str, bytes] | None = None) -> list[list[str]]:
    """Complete whatever is delivered until nothing more is; what was delivered, wave by wave."""
    waves = []
    while wave := made.delivered():
        waves.append(wave)
        await made.engine.report(
            made.worker,
            completed=[
                done for name in wave for done in made.done(run_id, name, output=(outputs or {}).get(name, b"{}"))
            ],
        )
    return waves
