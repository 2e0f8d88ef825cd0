"""The scheduler's choices, one rule at a time."""

from collections.abc import Iterable

import pytest

from tests.scheduler.plain import TENANT, Need, attempt, kind
from treadle.engine.attempt import Attempt
from treadle.scheduler import core as core_module
from treadle.scheduler.core import Core

ALL = 1_000_000


def serve(core: Core, worker_id: str, *queue_ids: int, slots: int | dict[str, int] = 1) -> None:
    core.add_worker(
        worker_id,
        tenant_id=TENANT,
        queue_ids=queue_ids or (1,),
        capacity={"default": slots} if isinstance(slots, int) else slots,
    )
    core.set_available(worker_id, available=True)


def offer(core: Core, items: Iterable[Attempt]) -> None:
    for item in items:
        core.offer(item)


def names(items: list[Attempt]) -> list[str]:
    return [item.task_id for item in items]


def by_key(items: Iterable[Attempt]) -> list[Attempt]:
    return sorted(items, key=lambda item: (item.rank, item.position))


def test_the_urgent_go_first_and_the_old_before_the_young() -> None:
    core = Core()
    serve(core, "w", slots=10)
    items = [attempt(kind(), n, priority=priority) for n, priority in enumerate((1, 3, 2, 1, 3, 2))]
    offer(core, items)
    assert core.assign(ALL) == [items[n] for n in (1, 4, 2, 5, 0, 3)]


def test_what_returns_goes_before_first_attempts_of_its_priority_only() -> None:
    core = Core()
    serve(core, "w", slots=10)
    first_low = attempt(kind(), 1, priority=1)
    first_high = attempt(kind(), 2, priority=2)
    retry_low = attempt(kind(), 3, priority=1, returning=True)
    retry_high = attempt(kind(), 4, priority=2, returning=True)
    second_retry_low = attempt(kind(), 5, priority=1, returning=True)
    offer(core, [first_low, first_high, retry_low, retry_high, second_retry_low])
    assert core.assign(ALL) == [retry_high, first_high, retry_low, second_retry_low, first_low]


def test_nothing_is_given_without_a_free_slot() -> None:
    core = Core()
    items = [attempt(kind(), n) for n in range(5)]
    offer(core, items)
    assert core.assign(ALL) == []
    serve(core, "w", slots=2)
    assert core.assign(ALL) == items[:2]
    assert core.assign(ALL) == []
    core.release("w", (("default", 1),))
    assert core.assign(ALL) == items[2:3]


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
    core.offer(attempt(kind(need=need), 0))
    assert len(core.assign(ALL)) == int(fits)


def test_a_large_item_waits_for_its_slots_and_is_not_overtaken() -> None:
    core = Core()
    serve(core, "w", slots=3)
    busy = attempt(kind(), 0)
    large = attempt(kind(need=(("default", 3),)), 1)
    small = attempt(kind(), 2)
    offer(core, [busy, large, small])
    assert core.assign(ALL) == [busy]
    core.release("w", busy.kind.slots)
    assert core.assign(ALL) == [large]
    core.release("w", large.kind.slots)
    assert core.assign(ALL) == [small]


def test_workers_take_turns() -> None:
    core = Core()
    for worker_id in ("a", "b", "c"):
        serve(core, worker_id, slots=4)
    offer(core, [attempt(kind(), n) for n in range(9)])
    assert [item.worker_id for item in core.assign(ALL)] == ["a", "b", "c"] * 3


def test_a_full_worker_is_passed_over() -> None:
    core = Core()
    serve(core, "a", slots=1)
    serve(core, "b", slots=3)
    offer(core, [attempt(kind(), n) for n in range(5)])
    assert [item.worker_id for item in core.assign(ALL)] == ["a", "b", "b", "b"]


def test_queues_take_turns_at_one_workers_slots() -> None:
    core = Core()
    serve(core, "w", 1, 2, slots=6)
    offer(core, [attempt(kind(1), n) for n in range(50)])
    offer(core, [attempt(kind(2), n) for n in range(50, 100)])
    assert [item.kind.queue_id for item in core.assign(ALL)] == [1, 2] * 3


def test_a_small_queue_is_served_beside_a_large_one_as_slots_come_free() -> None:
    core = Core()
    serve(core, "w", 1, 2, slots=1)
    offer(core, [attempt(kind(1), n) for n in range(20)])
    assert len(core.assign(ALL)) == 1
    offer(core, [attempt(kind(2), n) for n in range(20, 23)])
    served = []
    for _ in range(8):
        core.release("w", (("default", 1),))
        served += [item.kind.queue_id for item in core.assign(ALL)]
    assert served.count(2) == 3, served


def test_a_worker_gets_only_what_it_serves() -> None:
    core = Core()
    serve(core, "w", 2, slots=9)
    offer(core, [attempt(kind(1), 0), attempt(kind(2), 1)])
    assert [item.kind.queue_id for item in core.assign(ALL)] == [2]


def test_an_unavailable_worker_gets_nothing_until_it_is_available_again() -> None:
    core = Core()
    serve(core, "w", slots=2)
    core.set_available("w", available=False)
    item = attempt(kind(), 0)
    core.offer(item)
    assert core.assign(ALL) == []
    core.set_available("w", available=True)
    assert core.assign(ALL) == [item]


def test_a_worker_that_comes_again_is_counted_anew() -> None:
    core = Core()
    serve(core, "w", slots=2)
    offer(core, [attempt(kind(), n) for n in range(9)])
    assert len(core.assign(ALL)) == 2
    serve(core, "w", slots=3)
    core.occupy("w", (("default", 1),))
    assert len(core.assign(ALL)) == 2
    core.remove_worker("w")
    core.release("w", (("default", 1),))
    assert core.assign(ALL) == []


def test_at_most_the_limit_is_given_and_the_rest_next_time() -> None:
    core = Core()
    serve(core, "w", 1, 2, slots=100)
    offer(core, [attempt(kind(1 + n % 2), n) for n in range(20)])
    assert len(core.assign(7)) == 7
    assert core.unfinished
    assert len(core.assign(7)) == 7
    assert len(core.assign(7)) == 6
    core.assign(7)
    assert not core.unfinished


def test_what_was_cancelled_is_not_given() -> None:
    core = Core()
    items = [attempt(kind(), n) for n in range(4)]
    offer(core, items)
    core.discard(items[0].task_id)
    core.discard(items[2].task_id)
    core.discard(items[2].task_id)
    core.discard("unknown")
    assert core.waiting(items[0].task_id) is None
    assert core.waiting(items[1].task_id) is items[1]
    serve(core, "w", slots=9)
    assert core.assign(ALL) == [items[1], items[3]]
    assert core.waiting(items[1].task_id) is None


def test_what_stood_behind_a_large_item_is_given_once_that_is_cancelled() -> None:
    core = Core()
    serve(core, "w", slots=1)
    large, small = attempt(kind(need=(("default", 2),)), 0), attempt(kind(), 1)
    offer(core, [large, small])
    assert core.assign(ALL) == []
    core.discard(large.task_id)
    assert core.assign(ALL) == [small]


@pytest.fixture
def small_window(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(core_module, "WINDOW", 10)
    return 10


def refill(core: Core, table: list[Attempt], window: int) -> None:
    for line in core.starving():
        found = [item for item in by_key(table) if (item.rank, item.position) > line.tail][:window]
        core.refill(line, found, complete=len(found) < window)


def test_a_full_window_leaves_the_rest_to_the_table(small_window: int) -> None:
    core = Core()
    items = [attempt(kind(), n) for n in range(35)]
    offer(core, items)
    assert [item.task_id for item in items if core.waiting(item.task_id)] == names(items[:small_window])
    serve(core, "w", slots=100)
    given: list[Attempt] = []
    while True:
        refill(core, [item for item in items if item not in given], small_window)
        chosen = core.assign(ALL)
        if not chosen:
            break
        given += chosen
    assert given == items


def test_the_urgent_come_into_a_full_window(small_window: int) -> None:
    core = Core()
    offer(core, [attempt(kind(), n) for n in range(3 * small_window)])
    urgent = attempt(kind(), 98, priority=3)
    returning = attempt(kind(), 99, returning=True)
    offer(core, [urgent, returning])
    serve(core, "w", slots=2)
    assert core.assign(ALL) == [urgent, returning]


def test_a_window_that_grows_too_large_forgets_its_least_urgent(small_window: int) -> None:
    core = Core()
    low = [attempt(kind(), n, priority=1) for n in range(10)]
    high = [attempt(kind(), n, priority=3) for n in range(10, 21)]
    offer(core, low + high)
    held = [item for item in low + high if core.waiting(item.task_id)]
    assert held == high[:small_window]
    serve(core, "w", slots=100)
    given: list[Attempt] = []
    for _ in range(6):
        refill(core, [item for item in low + high if item not in given], small_window)
        given += core.assign(ALL)
    assert given == high + low


def test_a_queue_that_is_not_loaded_is_read_once_someone_serves_it(small_window: int) -> None:
    core = Core()
    core.line(1, TENANT, complete=False)
    stored = [attempt(kind(), n) for n in range(3)]
    fresh = attempt(kind(), 3)
    core.offer(fresh)
    assert core.waiting(fresh.task_id) is None
    assert core.starving() == []
    serve(core, "w", slots=9)
    assert [line.queue_id for line in core.starving()] == [1]
    refill(core, [*stored, fresh], small_window)
    assert core.starving() == []
    assert core.assign(ALL) == [*stored, fresh]


def test_one_queue_that_waits_for_room_does_not_stop_another() -> None:
    core = Core()
    serve(core, "w", 1, 2, slots={"default": 4, "gpu": 0})
    offer(core, [attempt(kind(1, (("gpu", 1),)), n) for n in range(5)])
    offer(core, [attempt(kind(2), n) for n in range(5, 10)])
    assert [item.kind.queue_id for item in core.assign(ALL)] == [2] * 4
