"""The checker of workflow runs sees what it should: it is shown histories that break each of its rules."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.effects import EffectLine, Mark
from tests.chaos.flow_checker import check_flows
from tests.chaos.flow_history import FlowHistory
from tests.chaos.flow_plan import COMPLETED, planned_end, planned_tasks
from tests.chaos.history import ClientLog, History, Observed, Snapshot, StoredEvent, StoredResult, StoredRun
from treadle.model.states import EventKind, RunStatus

# One that goes well, and one each whose first task fails, whose last one fails, and of which a task is cancelled.
NUMBERS = {"well": 1, "fails-at-once": 5, "fails-late": 4, "cancelled": 6}


def _good_history() -> FlowHistory:
    client = ClientLog()
    effects: list[EffectLine] = []
    runs: list[StoredResult] = []
    tasks: list[StoredResult] = []
    events: list[StoredEvent] = []
    names: dict[str, tuple[str, str]] = {}
    shown: dict[str, set[bytes]] = defaultdict(set)
    for run_id, number in NUMBERS.items():
        client.acknowledged[run_id] = number
        status, outputs = planned_end(number), {}
        runs.append(StoredResult(run_id, 1, status, 0, b"", ""))
        client.observed[run_id].add(Observed(status, b"", ""))
        for name, planned in planned_tasks(number).items():
            task_id, last = f"{run_id}/{name}", planned.retries + 1
            names[task_id] = (run_id, name)
            output = b""
            events += [StoredEvent(task_id, EventKind.RETRYING, attempt) for attempt in range(1, last)]
            if planned.status is COMPLETED:
                outputs[name] = {"value": planned.value, "nonce": task_id}
                output = json.dumps(outputs[name]).encode()
                effects += [EffectLine(mark, task_id, last, 0, task_id) for mark in (Mark.START, Mark.EFFECT)]
            tasks.append(StoredResult(task_id, last, planned.status, planned.retries, output, ""))
        shown[run_id].add(json.dumps(outputs).encode())
    events += [StoredEvent(end.task_id, EventKind[end.status.name], end.attempt) for end in (*runs, *tasks)]
    return FlowHistory(
        runs=_part(list(NUMBERS.items()), runs, events, client, []),
        tasks=_part([(task_id, 0) for task_id in names], tasks, events, ClientLog(), effects),
        numbers=dict(NUMBERS),
        names=names,
        shown=dict(shown),
    )


def _part(
    stored: list[tuple[str, int]],
    results: list[StoredResult],
    events: list[StoredEvent],
    client: ClientLog,
    effects: list[EffectLine],
) -> History:
    known = {task_id for task_id, _ in stored}
    left = dict.fromkeys(("queue_item", "condition"), 0)
    mine = [event for event in events if event.task_id in known]
    return History(client, effects, Snapshot([StoredRun(*run) for run in stored], results, mine, left))


def _change(results: list[StoredResult], task_id: str, **fields: object) -> None:
    [place] = [place for place, result in enumerate(results) if result.task_id == task_id]
    results[place] = replace(results[place], **fields)  # type: ignore[arg-type]  # of whichever field


def _run_ends_otherwise(history: FlowHistory) -> None:
    _change(history.runs.snapshot.results, "cancelled", status=RunStatus.FAILED)


def _run_has_no_end(history: FlowHistory) -> None:
    del history.runs.snapshot.results[0]


def _task_has_no_end(history: FlowHistory) -> None:
    history.tasks.snapshot.results[:] = [r for r in history.tasks.snapshot.results if r.task_id != "well/both"]


def _task_has_two_ends(history: FlowHistory) -> None:
    history.tasks.snapshot.results.append(history.tasks.snapshot.results[0])


def _handler_is_called_for_nothing(history: FlowHistory) -> None:
    history.names["well/rescue"] = ("well", "rescue")
    history.tasks.snapshot.results.append(StoredResult("well/rescue", 1, COMPLETED, 0, b'{"value":1}', ""))


def _skipped_task_runs(history: FlowHistory) -> None:
    _change(history.tasks.snapshot.results, "well/odd", status=COMPLETED, output=b'{"value":1}')


def _event_of_another_run(history: FlowHistory) -> None:
    _change(history.tasks.snapshot.results, "well/listen", output=b'{"value":2,"nonce":"well/listen"}')


def _retry_is_spent(history: FlowHistory) -> None:
    _change(history.tasks.snapshot.results, "well/begin", retries_used=1)


def _other_outputs_are_shown(history: FlowHistory) -> None:
    history.shown["well"].add(b"{}")


def _doctor_finds_something(history: FlowHistory) -> None:
    history.stuck.append("it waits for nothing")


def _attempt_starts_twice(history: FlowHistory) -> None:
    history.tasks.effects.append(history.tasks.effects[0])


def _sleep_is_left(history: FlowHistory) -> None:
    history.tasks.snapshot.unfinished["condition"] = 1


BROKEN: dict[Callable[[FlowHistory], None], str] = {
    _run_ends_otherwise: "runs_end_as_planned",
    _run_has_no_end: "runs_end_as_planned",
    _task_has_no_end: "tasks_end_as_planned",
    _task_has_two_ends: "tasks_end_as_planned",
    _handler_is_called_for_nothing: "tasks_end_as_planned",
    _skipped_task_runs: "tasks_end_as_planned",
    _event_of_another_run: "tasks_end_as_planned",
    _retry_is_spent: "tasks_end_as_planned",
    _other_outputs_are_shown: "shown_outputs_are_stored",
    _doctor_finds_something: "nothing_is_stuck",
    _attempt_starts_twice: "attempts_start_at_most_once",
    _sleep_is_left: "nothing_is_left_in_progress",
}


def test_a_good_history_has_no_violations() -> None:
    assert check_flows(_good_history()) == []


@pytest.mark.parametrize("break_it", BROKEN, ids=lambda break_it: break_it.__name__.strip("_"))
def test_a_broken_history_is_seen(break_it: Callable[[FlowHistory], None]) -> None:
    history = _good_history()
    break_it(history)
    assert BROKEN[break_it] in {problem.partition(":")[0] for problem in check_flows(history)}
