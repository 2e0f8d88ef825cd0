from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from treadle.model.graph import find_cycle


def test_a_diamond_has_no_cycle() -> None:
    assert find_cycle({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c", "c"]}) is None


def test_a_task_that_waits_for_itself() -> None:
    assert find_cycle({"a": ["a"]}) == ["a", "a"]


def test_a_long_chain_is_no_problem() -> None:
    chain = {str(number): [str(number - 1)] if number else [] for number in range(20_000)}
    assert find_cycle(chain) is None
    chain["0"] = ["19999"]
    cycle = find_cycle(chain)
    assert cycle is not None
    assert len(cycle) == 20_001


@given(st.dictionaries(st.integers(0, 7), st.sets(st.integers(0, 7)), max_size=8))
def test_a_cycle_is_found_exactly_when_no_order_exists(edges: dict[int, set[int]]) -> None:
    parents = {str(task): sorted(str(parent) for parent in waits if parent in edges) for task, waits in edges.items()}
    cycle = find_cycle(parents)
    left = {task: set(waits) for task, waits in parents.items()}
    while ready := {task for task, waits in left.items() if not waits}:
        left = {task: waits - ready for task, waits in left.items() if task not in ready}
    assert (cycle is not None) == bool(left)
    if cycle is not None:
        assert cycle[0] == cycle[-1]
        assert all(before in parents[after] for before, after in pairwise(cycle))
