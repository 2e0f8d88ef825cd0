"""The rules that a history must obey, whatever was killed. Each returns what is wrong, in words; nothing is good."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from tests.chaos.effects import Mark
from tests.chaos.history import History, StoredResult
from tests.chaos.plan import expected_value, planned_failures
from treadle.model.states import EventKind, RunStatus

Rule = Callable[[History], Iterator[str]]
Judged = TypeVar("Judged")

SHOWN_PER_RULE = 5

# An attempt after which another one is due. Each of these events closes exactly one attempt.
CLOSES_FOR_ANOTHER = frozenset({EventKind.RETRYING, EventKind.REASSIGNED, EventKind.HANDED_BACK})
# A timeout is told apart, next to the end that it leads to.
ENDS_RUN = {
    RunStatus.COMPLETED: EventKind.COMPLETED,
    RunStatus.FAILED: EventKind.FAILED,
    RunStatus.CANCELLED: EventKind.CANCELLED,
    RunStatus.SKIPPED: EventKind.SKIPPED,
}


def check(history: History) -> list[str]:
    """All violations, a few of each rule."""
    return violations(history, RULES)


def violations(history: Judged, rules: Iterable[Callable[[Judged], Iterator[str]]]) -> list[str]:
    """All violations of some rules, a few of each."""
    problems: list[str] = []
    for rule in rules:
        found = list(islice(rule(history), SHOWN_PER_RULE + 1))
        problems.extend(f"{rule.__name__}: {text}" for text in found[:SHOWN_PER_RULE])
        if len(found) > SHOWN_PER_RULE:
            problems.append(f"{rule.__name__}: ... and more")
    return problems


def acknowledged_runs_have_one_result(history: History) -> Iterator[str]:
    """A run whose start was answered is stored, and reached exactly one terminal state."""
    stored = {run.task_id: run.number for run in history.snapshot.runs}
    results = Counter(result.task_id for result in history.snapshot.results)
    for task_id, number in history.client.acknowledged.items():
        if task_id not in stored:
            yield f"run {task_id} (number {number}) was acknowledged and is lost"
        elif stored[task_id] != number:
            yield f"run {task_id} holds the input of {stored[task_id]}, not of {number}"
        if results[task_id] != 1:
            yield f"run {task_id} (number {number}) has {results[task_id]} results"


def acknowledged_runs_stay_known(history: History) -> Iterator[str]:
    """The engine never says of an acknowledged run that it does not know it, not even while it recovers."""
    for task_id in history.client.vanished:
        yield f"run {task_id} was acknowledged; later the engine knew nothing of it"


def no_run_without_a_cause(history: History) -> Iterator[str]:
    """A stored run was acknowledged, or its call broke before an answer; no number is stored twice."""
    acknowledged = history.client.acknowledged
    seen: dict[int, str] = {}
    for run in history.snapshot.runs:
        if run.number in seen:
            yield f"number {run.number} is stored twice: {seen[run.number]} and {run.task_id}"
        seen[run.number] = run.task_id
        if run.task_id not in acknowledged and run.number not in history.client.uncertain:
            yield f"run {run.task_id} (number {run.number}) was never asked for"


def no_result_without_a_run(history: History) -> Iterator[str]:
    """Every result belongs to a stored run, and is terminal."""
    stored = {run.task_id for run in history.snapshot.runs}
    for result in history.snapshot.results:
        if result.task_id not in stored:
            yield f"a result for {result.task_id}, which is not stored"


def nothing_is_refused(history: History) -> Iterator[str]:
    """Every start was good input: a definite refusal is a fault of the engine."""
    for number, message in history.client.refused.items():
        yield f"number {number} was refused: {message}"


def runs_complete_with_their_own_value(history: History) -> Iterator[str]:
    """No kill turns a run into a failure, and the output is what the run's code made of the run's input."""
    numbers = {run.task_id: run.number for run in history.snapshot.runs}
    for result in history.snapshot.results:
        number = numbers.get(result.task_id)
        if number is None:
            continue
        if result.status is not RunStatus.COMPLETED:
            yield f"run {result.task_id} ended {result.status.name}: {result.error.splitlines()[:1]}"
        elif _output(result).get("value") != expected_value(number):
            yield f"run {result.task_id} (number {number}) returned {result.output!r}"


def results_come_from_their_attempt(history: History) -> Iterator[str]:
    """The accepted output was made by the accepted attempt: its effect line says so."""
    effects = {(line.task_id, line.attempt, line.nonce) for line in history.effects if line.mark is Mark.EFFECT}
    for result in history.snapshot.results:
        if result.status is RunStatus.COMPLETED:
            key = (result.task_id, result.attempt, str(_output(result).get("nonce")))
            if key not in effects:
                yield f"no worker reports the effect behind the result of {result.task_id}, attempt {result.attempt}"


def kills_spend_no_retries(history: History) -> Iterator[str]:
    """A user's retries are spent by the user's failures alone."""
    numbers = {run.task_id: run.number for run in history.snapshot.runs}
    for result in history.snapshot.results:
        number = numbers.get(result.task_id)
        if number is not None and result.retries_used != planned_failures(number):
            yield f"run {result.task_id} used {result.retries_used} retries, not {planned_failures(number)}"


def attempts_start_at_most_once(history: History) -> Iterator[str]:
    """The code of one attempt begins at most once, and of no attempt beyond the accepted one."""
    last = {result.task_id: result.attempt for result in history.snapshot.results}
    starts = Counter((line.task_id, line.attempt) for line in history.effects if line.mark is Mark.START)
    for (task_id, attempt), count in starts.items():
        if count > 1:
            yield f"attempt {attempt} of {task_id} started {count} times"
        if task_id not in last:
            yield f"a worker ran {task_id}, which has no result"
        elif not 1 <= attempt <= last[task_id]:
            yield f"attempt {attempt} of {task_id} started, and the last one is {last[task_id]}"


def attempts_form_a_chain(history: History) -> Iterator[str]:
    """Attempts are 1..n without a gap: each but the last was closed exactly once, for a reason."""
    closed: dict[str, Counter[int]] = defaultdict(Counter)
    for event in history.snapshot.events:
        if event.kind in CLOSES_FOR_ANOTHER:
            closed[event.task_id][event.attempt] += 1
    for result in history.snapshot.results:
        wanted = Counter(range(1, result.attempt))
        if closed[result.task_id] != wanted:
            found = dict(sorted(closed[result.task_id].items()))
            yield f"run {result.task_id} ended in attempt {result.attempt}; attempts closed before it: {found}"


def runs_end_once_in_the_log(history: History) -> Iterator[str]:
    """The log tells of exactly one end of a run: the one that is stored."""
    ends: dict[str, list[tuple[EventKind, int]]] = defaultdict(list)
    for event in history.snapshot.events:
        if event.kind in ENDS_RUN.values():
            ends[event.task_id].append((event.kind, event.attempt))
    for result in history.snapshot.results:
        logged = ends[result.task_id]
        if logged != [(ENDS_RUN.get(result.status), result.attempt)]:
            yield f"run {result.task_id} is {result.status.name} in attempt {result.attempt}; the log says {logged}"


def readers_agree(history: History) -> Iterator[str]:
    """Every result that a client was shown is the stored one: none is taken back, none is changed."""
    stored = {result.task_id: result for result in history.snapshot.results}
    for task_id, views in history.client.observed.items():
        result = stored.get(task_id)
        if len(views) != 1:
            yield f"readers saw {len(views)} different results of {task_id}"
        if result is None:
            yield f"a client was given a result of {task_id}, and none is stored"
            continue
        for view in views:
            if (view.status, view.output) != (result.status, result.output):
                yield f"a client saw {view.status.name} {view.output!r} for {task_id}; stored is {result}"


def all_acknowledged_runs_were_shown(history: History) -> Iterator[str]:
    """A client that waits for its runs hears of each of them."""
    for task_id in history.client.acknowledged:
        if task_id not in history.client.observed:
            yield f"the client waits for ever for {task_id}"


def nothing_is_left_in_progress(history: History) -> Iterator[str]:
    """When all runs have ended, no queued, running or waiting attempt is left behind."""
    for table, rows in history.snapshot.unfinished.items():
        if rows:
            yield f"{rows} rows are left in {table}"


RULES: tuple[Rule, ...] = (
    acknowledged_runs_have_one_result,
    acknowledged_runs_stay_known,
    no_run_without_a_cause,
    no_result_without_a_run,
    nothing_is_refused,
    runs_complete_with_their_own_value,
    results_come_from_their_attempt,
    kills_spend_no_retries,
    attempts_start_at_most_once,
    attempts_form_a_chain,
    runs_end_once_in_the_log,
    readers_agree,
    all_acknowledged_runs_were_shown,
    nothing_is_left_in_progress,
)


def _output(result: StoredResult) -> dict[str, object]:
    try:
        output = json.loads(result.output)
    except ValueError:
        return {}
    return output if isinstance(output, dict) else {}
