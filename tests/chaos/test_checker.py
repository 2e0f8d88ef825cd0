"""The checker is worth something only if it sees what it should: each rule is shown a history that breaks it."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.checker import RULES, check
from tests.chaos.effects import EffectLine, Mark
from tests.chaos.history import (
    ClientLog,
    History,
    Observed,
    Snapshot,
    StoredEvent,
    StoredResult,
    StoredRun,
)
from tests.chaos.plan import FAILS_ONCE_EVERY, expected_value
from treadle.model.states import EventKind, RunStatus

PLAIN, MOVED, RETRIED, UNSURE = "run-plain", "run-moved", "run-retried", "run-unsure"
NUMBERS = {PLAIN: 1, MOVED: 2, RETRIED: FAILS_ONCE_EVERY, UNSURE: 3}
ATTEMPTS = {PLAIN: 1, MOVED: 2, RETRIED: 2, UNSURE: 1}


def _output(task_id: str) -> bytes:
    return json.dumps({"value": expected_value(NUMBERS[task_id]), "nonce": f"{task_id}-nonce"}).encode()


def _good_history() -> History:
    """Four runs: one plain, one whose worker died, one that failed once on purpose, one whose start call broke."""
    client = ClientLog(uncertain={3, 4})
    effects: list[EffectLine] = []
    results: list[StoredResult] = []
    events = [
        StoredEvent(MOVED, EventKind.REASSIGNED, 1),
        StoredEvent(RETRIED, EventKind.RETRYING, 1),
    ]
    for task_id, last in ATTEMPTS.items():
        output = _output(task_id)
        used = 1 if task_id == RETRIED else 0
        results.append(StoredResult(task_id, last, RunStatus.COMPLETED, used, output, ""))
        events.append(StoredEvent(task_id, EventKind.COMPLETED, last))
        for attempt in range(1, last + 1):
            nonce = f"{task_id}-nonce" if attempt == last else "another"
            effects.append(EffectLine(Mark.START, task_id, attempt, attempt, nonce))
        effects.append(EffectLine(Mark.EFFECT, task_id, last, last, f"{task_id}-nonce"))
        if task_id != UNSURE:
            client.acknowledged[task_id] = NUMBERS[task_id]
            client.observed[task_id].add(Observed(RunStatus.COMPLETED, output, ""))
    snapshot = Snapshot(
        runs=[StoredRun(task_id, number) for task_id, number in NUMBERS.items()],
        results=results,
        events=events,
        unfinished={"queue_item": 0, "attempt": 0, "timer": 0},
    )
    return History(client, effects, snapshot)


def _drop_run(history: History) -> None:
    history.snapshot.runs[:] = [run for run in history.snapshot.runs if run.task_id != PLAIN]


def _drop_result(history: History) -> None:
    del history.snapshot.results[0]


def _double_result(history: History) -> None:
    history.snapshot.results.append(history.snapshot.results[0])


def _unknown_for_a_while(history: History) -> None:
    history.client.vanished.add(PLAIN)


def _phantom_run(history: History) -> None:
    history.snapshot.runs.append(StoredRun("run-phantom", 99))


def _same_number_twice(history: History) -> None:
    history.snapshot.runs.append(StoredRun("run-again", NUMBERS[UNSURE]))


def _orphan_result(history: History) -> None:
    history.snapshot.results.append(StoredResult("run-orphan", 1, RunStatus.COMPLETED, 0, b"{}", ""))


def _refusal(history: History) -> None:
    history.client.refused[5] = "input: bad"


def _failed_by_a_kill(history: History) -> None:
    history.snapshot.results[0] = replace(history.snapshot.results[0], status=RunStatus.FAILED, error="worker lost")


def _wrong_value(history: History) -> None:
    history.snapshot.results[0] = replace(history.snapshot.results[0], output=_output(MOVED))


def _result_without_effect(history: History) -> None:
    history.effects[:] = [line for line in history.effects if (line.mark, line.task_id) != (Mark.EFFECT, MOVED)]


def _result_of_a_stale_attempt(history: History) -> None:
    output = _output(MOVED).replace(b"run-moved-nonce", b"another")
    history.snapshot.results[1] = replace(history.snapshot.results[1], output=output)


def _kill_spent_a_retry(history: History) -> None:
    history.snapshot.results[1] = replace(history.snapshot.results[1], retries_used=1)


def _started_twice(history: History) -> None:
    history.effects.append(EffectLine(Mark.START, PLAIN, 1, 9, "twice"))


def _started_beyond_the_last(history: History) -> None:
    history.effects.append(EffectLine(Mark.START, PLAIN, 2, 9, "late"))


def _gap_in_the_chain(history: History) -> None:
    history.snapshot.events.remove(StoredEvent(MOVED, EventKind.REASSIGNED, 1))


def _attempt_closed_twice(history: History) -> None:
    history.snapshot.events.append(StoredEvent(RETRIED, EventKind.REASSIGNED, 1))


def _ended_twice(history: History) -> None:
    history.snapshot.events.append(StoredEvent(PLAIN, EventKind.COMPLETED, 1))


def _result_changed_later(history: History) -> None:
    history.client.observed[PLAIN].add(Observed(RunStatus.COMPLETED, b"{}", ""))


def _client_waits_for_ever(history: History) -> None:
    del history.client.observed[PLAIN]


def _row_left_behind(history: History) -> None:
    history.snapshot.unfinished["attempt"] = 1


MUTANTS: dict[Callable[[History], None], str] = {
    _drop_run: "acknowledged_runs_have_one_result",
    _drop_result: "acknowledged_runs_have_one_result",
    _double_result: "acknowledged_runs_have_one_result",
    _unknown_for_a_while: "acknowledged_runs_stay_known",
    _phantom_run: "no_run_without_a_cause",
    _same_number_twice: "no_run_without_a_cause",
    _orphan_result: "no_result_without_a_run",
    _refusal: "nothing_is_refused",
    _failed_by_a_kill: "runs_complete_with_their_own_value",
    _wrong_value: "runs_complete_with_their_own_value",
    _result_without_effect: "results_come_from_their_attempt",
    _result_of_a_stale_attempt: "results_come_from_their_attempt",
    _kill_spent_a_retry: "kills_spend_no_retries",
    _started_twice: "attempts_start_at_most_once",
    _started_beyond_the_last: "attempts_start_at_most_once",
    _gap_in_the_chain: "attempts_form_a_chain",
    _attempt_closed_twice: "attempts_form_a_chain",
    _ended_twice: "runs_end_once_in_the_log",
    _result_changed_later: "readers_agree",
    _client_waits_for_ever: "all_acknowledged_runs_were_shown",
    _row_left_behind: "nothing_is_left_in_progress",
}


def test_a_good_history_passes() -> None:
    """Kills, planned failures and broken calls are no violations."""
    assert check(_good_history()) == []


@pytest.mark.parametrize(("mutate", "rule"), MUTANTS.items(), ids=[mutate.__name__.strip("_") for mutate in MUTANTS])
def test_each_mutant_is_caught_by_its_rule(mutate: Callable[[History], None], rule: str) -> None:
    """A rule that never fires proves nothing."""
    history = copy.deepcopy(_good_history())
    mutate(history)
    assert any(problem.startswith(f"{rule}:") for problem in check(history))


def test_each_rule_has_a_mutant() -> None:
    """A new rule comes with a history that breaks it."""
    assert {rule.__name__ for rule in RULES} == set(MUTANTS.values())


def test_many_violations_are_shown_briefly() -> None:
    """A broken engine breaks thousands of runs; a few are enough to look at."""
    history = _good_history()
    history.client.refused.update(dict.fromkeys(range(100, 200), "no"))
    assert len(check(history)) == 6
