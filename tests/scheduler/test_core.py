"""The scheduler's choices, one rule at a time."""

from collections.abc import Iterable

import pytest

from tests.scheduler.plain import ONE, TENANT, Need, attempt, kind
from treadle.engine.attempt import Attempt
from treadle.scheduler.core import Core
from treadle.scheduler.events import Available, Discarded, Found, Joined, Left, Queued, Refilled, Released, Tick

ALL = 1_000_000
NOW = 1_000.0


def serve(
    core: Core,
    worker_id: str,
    *queue_ids: int,
    slots: int | dict[str, int] = 1,
    occupied: Iterable[Need] = (),
) -> None:
    capacity = {"default": slots} if isinstance(slots, int) else slots
    core.apply(
        Joined(worker_id, tenant_id=TENANT, queue_ids=queue_ids or (1,), capacity=capacity, occupied=occupied), NOW
    )
    core.apply(Available(worker_id, available=True), NOW)


def offer(core: Core, items: Iterable[Attempt]) -> None:
    core.apply(Queued(items), NOW)


def release(core: Core, worker_id: str, need: Need = ONE) -> None:
    core.apply(Released([(worker_id, need)]), NOW)


def assign(core: Core, limit: int = ALL) -> list[Attempt]:
    """The attempts given out; `worker_id` says where to."""
    decided = core.apply(Tick(limit), NOW)
    for decision in decided:
        assert decision.at == NOW
        decision.item.worker_id = decision.worker_id
    return [decision.item for decision in decided]


def names(items: list[Attempt]) -> list[str]:
    return [item.task_id for item in items]


def by_key(items: Iterable[Attempt]) -> list[Attempt]:
    return sorted(items, key=lambda item: (item.rank, item.position))


def test_the_urgent_go_first_and_the_old_before_the_young() -> None:
    core = Core()
    serve(core, "w", slots=10)
    items = [attempt(kind(), n, priority=priority) for n, priority in enumerate((1, 3, 2, 1, 3, 2))]
    offer(core, items)
    assert assign(core) == [items[n] for n in (1, 4, 2, 5, 0, 3)]


def test_what_returns_goes_before_first_attempts_of_its_priority_only() -> None:
    core = Core()
    serve(core, "w", slots=10)
    first_low = attempt(kind(), 1, priority=1)
    first_high = attempt(kind(), 2, priority=2)
    retry_low = attempt(kind(), 3, priority=1, returning=True)
    retry_high = attempt(kind(), 4, priority=2, returning=True)
    second_retry_low = attempt(kind(), 5, priority=1, returning=True)
    offer(core, [first_low, first_high, retry_low, retry_high, second_retry_low])
    assert assign(core) == [retry_high, first_high, retry_low, second_retry_low, first_low]


def test_nothing_is_given_without_a_free_slot() -> None:
    core = Core()
    items = [attempt(kind(), n) for n in range(5)]
    offer(core, items)
    assert assign(core) == []
    serve(core, "w", slots=2)
    assert assign(core) == items[:2]
    assert assign(core) == []
    release(core, "w")
    assert assign(core) == items[2:3]


@pytest.mark.parametrize(("need", "slots", "fits"), [
    ((("default", 3),), {"default": 3}, True),
    ((("default", 3),), {"default": 2}, False),
    ((("gpu", 1),), {"default": 9}, False),
    ((("gpu", 1), ("memory", 4)), {"gpu": 1, "memory": 4}, True),
    ((("gpu", 1), ("memory", 4)), {"gpu": 1, "memory": 3}, False),
    ((("gpu", 0),), {}, True),
])  # fmt: skip
def test_every_kind_of_slot_must_suffice(need: Need, slots: dict[str, int], fits: bool) -> None:
    core = Core()
    serve(core, "w", slots=slots)
    offer(core, [attempt(kind(need=need), 0)])
    assert len(assign(core)) == int(fits)


def test_a_large_item_waits_for_its_slots_and_is_not_overtaken() -> None:
    core = Core()
    serve(core, "w", slots=3)
    busy = attempt(kind(), 0)
    large = attempt(kind(need=(("default", 3),)), 1)
    small = attempt(kind(), 2)
    offer(core, [busy, large, small])
    assert assign(core) == [busy]
    release(core, "w", busy.kind.slots)
    assert assign(core) == [large]
    release(core, "w", large.kind.slots)
    assert assign(core) == [small]


def test_workers_take_turns() -> None:
    core = Core()
    for worker_id in ("a", "b", "c"):
        serve(core, worker_id, slots=4)
    offer(core, [attempt(kind(), n) for n in range(9)])
    assert [item.worker_id for item in assign(core)] == ["a", "b", "c"] * 3


def test_a_full_worker_is_passed_over() -> None:
    core = Core()
    serve(core, "a", slots=1)
    serve(core, "b", slots=3)
    offer(core, [attempt(kind(), n) for n in range(5)])
    assert [item.worker_id for item in assign(core)] == ["a", "b", "b", "b"]


def test_queues_take_turns_at_one_workers_slots() -> None:
    core = Core()
    serve(core, "w", 1, 2, slots=6)
    offer(core, [attempt(kind(1), n) for n in range(50)])
    offer(core, [attempt(kind(2), n) for n in range(50, 100)])
    assert [item.kind.queue_id for item in assign(core)] == [1, 2] * 3


def test_a_small_queue_is_served_beside_a_large_one_as_slots_come_free() -> None:
    core = Core()
    serve(core, "w", 1, 2, slots=1)
    offer(core, [attempt(kind(1), n) for n in range(20)])
    assert len(assign(core)) == 1
    offer(core, [attempt(kind(2), n) for n in range(20, 23)])
    served = []
    for _ in range(8):
        release(core, "w")
        served += [item.kind.queue_id for item in assign(core)]
    assert served.count(2) == 3, served


def test_a_worker_gets_only_what_it_serves() -> None:
    core = Core()
    serve(core, "w", 2, slots=9)
    offer(core, [attempt(kind(1), 0), attempt(kind(2), 1)])
    assert [item.kind.queue_id for item in assign(core)] == [2]


def test_an_unavailable_worker_gets_nothing_until_it_is_available_again() -> None:
    core = Core()
    serve(core, "w", slots=2)
    core.apply(Available("w", available=False), NOW)
    item = attempt(kind(), 0)
    offer(core, [item])
    assert assign(core) == []
    core.apply(Available("w", available=True), NOW)
    assert assign(core) == [item]


def test_a_worker_that_comes_again_is_counted_anew() -> None:
    core = Core()
    serve(core, "w", slots=2)
    offer(core, [attempt(kind(), n) for n in range(9)])
    assert len(assign(core)) == 2
    serve(core, "w", slots=3, occupied=[ONE])
    assert len(assign(core)) == 2
    core.apply(Left("w"), NOW)
    release(core, "w")
    assert assign(core) == []


def test_at_most_the_limit_is_given_and_the_rest_next_time() -> None:
    core = Core()
    serve(core, "w", 1, 2, slots=100)
    offer(core, [attempt(kind(1 + n % 2), n) for n in range(20)])
    assert len(assign(core, 7)) == 7
    assert core.unfinished
    assert len(assign(core, 7)) == 7
    assert len(assign(core, 7)) == 6
    assign(core, 7)
    assert not core.unfinished


def test_what_was_cancelled_is_not_given() -> None:
    core = Core()
    items = [attempt(kind(), n) for n in range(4)]
    offer(core, items)
    core.apply(Discarded([items[0].task_id]), NOW)
    core.apply(Discarded([items[2].task_id]), NOW)
    core.apply(Discarded([items[2].task_id]), NOW)
    core.apply(Discarded(["unknown"]), NOW)
    assert core.waiting(items[0].task_id) is None
    assert core.waiting(items[1].task_id) is items[1]
    serve(core, "w", slots=9)
    assert assign(core) == [items[1], items[3]]
    assert core.waiting(items[1].task_id) is None


def test_what_stood_behind_a_large_item_is_given_once_that_is_cancelled() -> None:
    core = Core()
    serve(core, "w", slots=1)
    large, small = attempt(kind(need=(("default", 2),)), 0), attempt(kind(), 1)
    offer(core, [large, small])
    assert assign(core) == []
    core.apply(Discarded([large.task_id]), NOW)
    assert assign(core) == [small]


WINDOW = 10


def refill(core: Core, table: list[Attempt]) -> None:
    for wish in core.starving():
        found = [item for item in by_key(table) if (item.rank, item.position) > wish.after][: wish.limit]
        core.apply(Refilled(wish.queue_id, found, complete=len(found) < wish.limit), NOW)


def test_a_full_window_leaves_the_rest_to_the_table() -> None:
    core = Core(window=WINDOW)
    items = [attempt(kind(), n) for n in range(35)]
    offer(core, items)
    assert [item.task_id for item in items if core.waiting(item.task_id)] == names(items[:WINDOW])
    serve(core, "w", slots=100)
    given: list[Attempt] = []
    while True:
        refill(core, [item for item in items if item not in given])
        chosen = assign(core)
        if not chosen:
            break
        given += chosen
    assert given == items


def test_the_urgent_come_into_a_full_window() -> None:
    core = Core(window=WINDOW)
    offer(core, [attempt(kind(), n) for n in range(3 * WINDOW)])
    urgent = attempt(kind(), 98, priority=3)
    returning = attempt(kind(), 99, returning=True)
    offer(core, [urgent, returning])
    serve(core, "w", slots=2)
    assert assign(core) == [urgent, returning]


def test_a_window_that_grows_too_large_forgets_its_least_urgent() -> None:
    core = Core(window=WINDOW)
    low = [attempt(kind(), n, priority=1) for n in range(10)]
    high = [attempt(kind(), n, priority=3) for n in range(10, 21)]
    offer(core, low + high)
    held = [item for item in low + high if core.waiting(item.task_id)]
    assert held == high[:WINDOW]
    serve(core, "w", slots=100)
    given: list[Attempt] = []
    for _ in range(6):
        refill(core, [item for item in low + high if item not in given])
        given += assign(core)
    assert given == high + low


def test_a_queue_that_is_not_loaded_is_read_once_someone_serves_it() -> None:
    core = Core(window=WINDOW)
    core.apply(Found(1, TENANT), NOW)
    stored = [attempt(kind(), n) for n in range(3)]
    fresh = attempt(kind(), 3)
    offer(core, [fresh])
    assert core.waiting(fresh.task_id) is None
    assert core.starving() == []
    serve(core, "w", slots=9)
    assert [wish.queue_id for wish in core.starving()] == [1]
    refill(core, [*stored, fresh])
    assert core.starving() == []
    assert assign(core) == [*stored, fresh]


def test_one_queue_that_waits_for_room_does_not_stop_another() -> None:
    core = Core()
    serve(core, "w", 1, 2, slots={"default": 4, "gpu": 0})
    offer(core, [attempt(kind(1, (("gpu", 1),)), n) for n in range(5)])
    offer(core, [attempt(kind(2), n) for n in range(5, 10)])
    assert [item.kind.queue_id for item in assign(core)] == [2] * 4


def test_a_queue_with_one_worker_is_not_starved_by_one_with_two() -> None:
    """Both workers come free at once, again and again; the large queue could take either slot each time."""
    core = Core()
    serve(core, "a", 1)
    serve(core, "b", 1, 2)
    offer(core, [attempt(kind(1), n) for n in range(50)])
    assert len(assign(core)) == 2
    offer(core, [attempt(kind(2), n) for n in range(50, 55)])
    served = []
    for _ in range(10):
        core.apply(Released([("a", ONE), ("b", ONE)]), NOW)
        served += [item.kind.queue_id for item in assign(core)]
    assert served.count(2) == 5, served


def test_what_stood_behind_a_large_item_goes_when_that_is_cancelled() -> None:
    core = Core()
    serve(core, "w", slots=1)
    large, small = attempt(kind(need=(("default", 2),)), 0), attempt(kind(), 1)
    offer(core, [large, small])
    assert assign(core) == []
    core.apply(Discarded([large.task_id]), NOW)
    assert assign(core) == [small]


def test_what_stood_behind_a_large_item_finds_the_worker_that_was_too_small_for_that() -> None:
    core = Core()
    serve(core, "small", slots=1)
    serve(core, "large", slots=2, occupied=[ONE])
    large, small = attempt(kind(need=(("default", 2),)), 0), attempt(kind(), 1)
    offer(core, [large, small])
    assert assign(core) == []
    release(core, "large")
    assert [(item, item.worker_id) for item in assign(core)] == [(large, "large"), (small, "small")]


def test_fresh_work_gets_its_turn_beside_freed_slots_that_always_reach_the_limit() -> None:
    core = Core()
    serve(core, "w", 1, slots=2)
    offer(core, [attempt(kind(1), n) for n in range(50)])
    serve(core, "idle", 2)
    assign(core, 2)
    fresh = attempt(kind(2), 50)
    offer(core, [fresh])
    served = []
    for _ in range(3):
        core.apply(Released([("w", ONE), ("w", ONE)]), NOW)
        served += assign(core, 2)
    assert fresh in served
