"""The rules that workflow runs must obey, whatever was killed. Each returns what is wrong, in words; nothing is good."""

import json
from collections.abc import Iterator

from tests.chaos import checker
from tests.chaos.checker import violations
from tests.chaos.flow_history import FlowHistory
from tests.chaos.flow_plan import planned_end, planned_tasks
from treadle.model.states import RunStatus

RULES_OF_RUNS = (
    checker.acknowledged_runs_have_one_result,
    checker.acknowledged_runs_stay_known,
    checker.no_run_without_a_cause,
    checker.no_result_without_a_run,
    checker.nothing_is_refused,
    checker.runs_end_once_in_the_log,
    checker.readers_agree,
    checker.all_acknowledged_runs_were_shown,
)
RULES_OF_TASKS = (
    checker.no_result_without_a_run,
    checker.results_come_from_their_attempt,
    checker.attempts_start_at_most_once,
    checker.attempts_form_a_chain,
    checker.runs_end_once_in_the_log,
    checker.nothing_is_left_in_progress,
)


def check_flows(history: FlowHistory) -> list[str]:
    """All violations, a few of each rule."""
    return [
        *violations(history.runs, RULES_OF_RUNS),
        *violations(history.tasks, RULES_OF_TASKS),
        *violations(history, RULES),
    ]


def runs_end_as_planned(history: FlowHistory) -> Iterator[str]:
    """Every stored run, acknowledged or not, reached the end that its number says."""
    ends = {result.task_id: result.status for result in history.runs.snapshot.results}
    for run_id, number in history.numbers.items():
        status = ends.get(run_id)
        if status is not planned_end(number):
            yield f"run {run_id} (number {number}) is {status and status.name}, not {planned_end(number).name}"


def tasks_end_as_planned(history: FlowHistory) -> Iterator[str]:
    """Every task of it ended once, as planned, with what is made of the outputs, events and errors of its own run."""
    for run_id, results in history.results_of().items():
        number = history.numbers[run_id]
        plan = planned_tasks(number)
        for name in sorted(plan.keys() ^ results.keys()):
            yield f"{name} of run {run_id} (number {number}) has {'no' if name in plan else 'a'} result"
        for name in sorted(plan.keys() & results.keys()):
            if len(results[name]) != 1:
                yield f"{name} of run {run_id} (number {number}) has {len(results[name])} results"
            found, planned = results[name][0], plan[name]
            value = json.loads(found.output).get("value") if found.status is RunStatus.COMPLETED else None
            if (found.status, value, found.retries_used) != planned:
                made = f"{found.status.name} with {value} after {found.retries_used} retries"
                yield f"{name} of run {run_id} (number {number}) is {made}, not {planned}: {found.error[:100]}"


def shown_outputs_are_stored(history: FlowHistory) -> Iterator[str]:
    """What a client was shown as the output of a run is what its completed tasks have stored."""
    stored = history.results_of()
    for run_id, views in history.shown.items():
        outputs = {
            name: json.loads(found[0].output)
            for name, found in stored.get(run_id, {}).items()
            if found[0].status is RunStatus.COMPLETED
        }
        for view in views:
            if json.loads(view or b"{}") != outputs:
                yield f"a client was shown {view!r:.200} for run {run_id}, and {outputs} is stored"


def nothing_is_stuck(history: FlowHistory) -> Iterator[str]:
    """The doctor finds nothing."""
    yield from history.stuck


RULES = (runs_end_as_planned, tasks_end_as_planned, shown_outputs_are_stored, nothing_is_stuck)
