"""What workflow runs under chaos are judged by, read from the tables at rest."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import asyncpg

from tests.chaos.effects import EffectLine
from tests.chaos.history import ClientLog, History, Observed, Snapshot, StoredEvent, StoredResult, StoredRun
from treadle.model.states import EventKind, RunStatus

IN_PROGRESS = ("queue_item", "attempt", "timer", "condition", "replayed")


@dataclass(slots=True)
class FlowHistory:
    """Everything that the checker of workflow runs reads.

    Attributes:
        runs: The workflow runs, as a history of their own: the client saw those.
        tasks: Their tasks, as another: the workers ran those.
        numbers: The numbers of the runs, by id.
        names: Run and name of each task, by id.
        shown: The outputs of runs, as the client was shown them.
        stuck: What the doctor says.
    """

    runs: History
    tasks: History
    numbers: dict[str, int]
    names: dict[str, tuple[str, str]]
    shown: dict[str, set[bytes]] = field(default_factory=dict)
    stuck: list[str] = field(default_factory=list)

    def results_of(self) -> dict[str, dict[str, list[StoredResult]]]:
        """The results of tasks, by run and name."""
        found: dict[str, dict[str, list[StoredResult]]] = {run_id: defaultdict(list) for run_id in self.numbers}
        for result in self.tasks.snapshot.results:
            run_id, name = self.names[result.task_id]
            found[run_id][name].append(result)
        return found


async def read_flow_history(
    connection: asyncpg.Connection, client: ClientLog, effects: list[EffectLine], stuck: Iterable[str]
) -> FlowHistory:
    """Read it all."""
    definition = json.loads(await connection.fetchval("SELECT definition FROM treadle.workflow_version"))
    order = [task["readable_id"] for task in (*definition["tasks"], definition["on_failure"])]
    numbers: dict[str, int] = {}
    names: dict[str, tuple[str, str]] = {}
    for row in await connection.fetch("SELECT id::text, run_id::text, step, input FROM treadle.task"):
        if row["run_id"] is None:
            numbers[row["id"]] = int(json.loads(row["input"])["number"])
        else:
            names[row["id"]] = (row["run_id"], order[row["step"]])
    results = [
        StoredResult(
            row["id"],
            row["attempt"],
            RunStatus(row["status"]),
            row["retries_used"],
            row["output"] or b"",
            row["error"] or "",
        )
        for row in await connection.fetch(
            "SELECT id::text, attempt, status, retries_used, output, error FROM treadle.task_result"
        )
    ]
    events = [
        StoredEvent(row["task_id"], EventKind(row["kind"]), row["attempt"])
        for row in await connection.fetch(
            "SELECT kind, task_id::text, attempt FROM treadle.event_log,"
            " LATERAL unnest(task_ids, attempts) AS each (task_id, attempt)"
        )
    ]
    left = {table: await connection.fetchval(f"SELECT count(*) FROM treadle.{table}") for table in IN_PROGRESS}
    return FlowHistory(
        runs=_part(numbers, results, events, left, _seen(client), []),
        tasks=_part(dict.fromkeys(names, 0), results, events, left, ClientLog(), effects),
        numbers=numbers,
        names=names,
        shown={run_id: {view.output for view in views} for run_id, views in client.observed.items()},
        stuck=list(stuck),
    )


def _part(
    numbers: dict[str, int],
    results: list[StoredResult],
    events: list[StoredEvent],
    left: dict[str, int],
    client: ClientLog,
    effects: list[EffectLine],
) -> History:
    """The history of some of the rows."""
    snapshot = Snapshot(
        runs=[StoredRun(task_id, number) for task_id, number in numbers.items()],
        results=[result for result in results if result.task_id in numbers],
        events=[event for event in events if event.task_id in numbers],
        unfinished=left,
    )
    return History(client, effects, snapshot)


def _seen(client: ClientLog) -> ClientLog:
    """What the client saw of runs, without outputs: those are stored with their tasks."""
    observed = defaultdict(
        set, {run_id: {Observed(v.status, b"", "") for v in seen} for run_id, seen in client.observed.items()}
    )
    return ClientLog(client.acknowledged, client.uncertain, client.refused, observed, client.vanished)
