"""Random workflows through random histories, compared with a second description of the rules."""

from collections.abc import Mapping
from random import Random

import cel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.model.dag_generator import EXPRESSIONS, SKIPPED_OUTPUT, expression_holds, random_fates, random_workflow
from tests.model.dag_history import History, live_through, live_through_all, seeds
from tests.model.dag_mutants import MUTANTS
from treadle.model.dag import Progress


@pytest.mark.parametrize("base", range(8))
def test_a_random_run_ends_as_the_rules_say(base: int) -> None:
    live_through_all(seeds(base, 300))


@given(st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_run_of_any_workflow_ends_as_the_rules_say(rng: Random) -> None:
    live_through("drawn by hypothesis", rng, max_tasks=6)


def test_the_order_of_things_at_the_same_time_does_not_matter() -> None:
    for seed in seeds(100, 60):
        rng = Random(seed)
        workflow = random_workflow(rng, max_tasks=20)
        fates = random_fates(rng, workflow)
        ends = set()
        for _ in range(6):
            history = History(rng, workflow, fates, calm=True)
            history.run()
            ends.add((tuple(history.states), history.finished))
        assert len(ends) == 1, seed


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_planted_bug_is_found(mutant: type[Progress]) -> None:
    with pytest.raises(AssertionError):
        live_through_all(seeds(0, 300), mutant)


def test_histories_reach_everything() -> None:
    """What the tests above would be worth nothing without."""
    states, statuses = set(), set()
    for seed in seeds(0, 100):
        rng = Random(seed)
        workflow = random_workflow(rng)
        history = History(rng, workflow, random_fates(rng, workflow))
        history.run()
        states.update(history.states)
        statuses.add(history.finished)
    assert len(states) == 6, "all but LIVE"
    assert len(statuses) == 4, "all, and runs that wait for what never comes"


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("output", [{"n": 4}, {"n": 5}, SKIPPED_OUTPUT])
def test_generated_expressions_mean_the_same_in_cel(expression: str, output: Mapping[str, int]) -> None:
    try:
        said = cel.evaluate(expression or "true", {"output": dict(output)})
    except Exception:  # noqa: BLE001 - whatever the library raises
        said = False
    assert said is expression_holds(expression, output)
