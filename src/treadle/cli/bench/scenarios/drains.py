"""Work that waits for a worker: drain, backlog, growth."""

import statistics
from typing import Any

from treadle.cli.bench.figures import circumstances, work_done
from treadle.cli.bench.plan import Plan
from treadle.cli.bench.rig import Rig, rig_for
from treadle.cli.bench.seed import insert_finished_runs

_BASELINE_TASKS = 50_000
_LIST_CALLS = 200
_SECONDS = 1800.0
_FILL_AT_ONCE = 4


def drain(plan: Plan) -> dict[str, Any]:
    """Queue tasks while no worker is there, then let one work them off."""
    with rig_for(plan, cells=plan.tasks) as rig:
        _warm(rig)
        report = _fill_and_drain(rig, range(plan.tasks))
        return {"scenario": plan.scenario} | report | circumstances(rig) | rig.end_and_count_rows()


def backlog(plan: Plan) -> dict[str, Any]:
    """A deep queue against a shallow one, in the same run."""
    shallow = min(_BASELINE_TASKS, plan.tasks)
    with rig_for(plan, cells=shallow + plan.tasks) as rig:
        _warm(rig)
        small = _fill_and_drain(rig, range(shallow))
        before = rig.memory()["engine_peak_rss_mb"]
        large = _fill_and_drain(rig, range(shallow, shallow + plan.tasks))
        report = {
            "scenario": plan.scenario,
            "tasks": plan.tasks,
            "shallow": small,
            "deep": large,
            "ratios": {
                "enqueue": _ratio(large["enqueue"], small["enqueue"], "tasks_per_s"),
                "drain": _ratio(large, small, "tasks_per_s"),
                "engine_cpu_drain": _ratio(large, small, "engine_cpu_us_per_task"),
            },
            "engine_peak_rss_mb_before": before,
        }
        return report | circumstances(rig) | rig.end_and_count_rows()


def growth(plan: Plan, *, history: int, rounds: int) -> dict[str, Any]:
    """The same work with many finished runs in the tables as with none."""
    tasks = plan.tasks
    with rig_for(plan, cells=2 * rounds * tasks) as rig:
        _warm(rig)
        empty, empty_looks = _rounds(rig, 0, rounds), rig.client.ask("list", calls=_LIST_CALLS)
        seeded = insert_finished_runs(rig.database_url, history)
        rig.runs += history
        full, full_looks = _rounds(rig, rounds, rounds), rig.client.ask("list", calls=_LIST_CALLS)
        report = {
            "scenario": plan.scenario,
            "history": history,
            "tasks": tasks,
            "seed": seeded,
            "empty": {"drains": empty, "list_ms": empty_looks},
            "grown": {"drains": full, "list_ms": full_looks},
            "ratios": {
                "drain": _median_ratio(full, empty, "tasks_per_s"),
                "engine_cpu": _median_ratio(full, empty, "engine_cpu_us_per_task"),
                "postgres_cpu": _median_ratio(full, empty, "postgres_cpu_us_per_task"),
                **{f"list_{name}": _ratio(full_looks[name], empty_looks[name], "p50") for name in full_looks},
            },
        }
        return report | circumstances(rig)


def _warm(rig: Rig) -> None:
    rig.start_worker()
    rig.start_client()
    rig.stop_worker()


def _rounds(rig: Rig, first: int, count: int) -> list[dict[str, Any]]:
    tasks = rig.plan.tasks
    return [_fill_and_drain(rig, range(at * tasks, (at + 1) * tasks)) for at in range(first, first + count)]


def _fill_and_drain(rig: Rig, numbers: range) -> dict[str, Any]:
    """Rates and costs of queueing tasks with no worker there, and of working them off."""
    tasks = len(numbers)
    at_start = rig.snapshot()
    asked = rig.client.ask("fill", first=numbers.start, count=tasks, at_once=_FILL_AT_ONCE)
    filled = rig.snapshot()
    rig.start_worker()
    # The worker's own start-up does not count: the clock starts with the first task.
    rig.wait_for_starts(numbers[:1], seconds=_SECONDS)
    before = rig.snapshot()
    rig.wait_for_starts(numbers, seconds=_SECONDS)
    stored_ns = rig.wait_until_stored(seconds=_SECONDS)
    after = rig.snapshot()
    rig.runs += tasks
    rig.check_all_stored()
    first_ns = min(rig.started[number] for number in numbers)
    enqueue = work_done(at_start, filled, tasks, asked["began_ns"], asked["ended_ns"])
    drained = work_done(before, after, tasks, first_ns, stored_ns)
    drained["wal_bytes_per_task"] = round((after.wal_bytes - filled.wal_bytes) / tasks)
    drained["enqueue"] = {name: value for name, value in enqueue.items() if name != "worker_cpu_us_per_task"}
    drained["enqueue"]["last_tenth_per_s"] = _rate_of_last_tenth(rig, numbers)
    drained.update(rig.memory())
    rig.stop_worker()
    return drained


def _rate_of_last_tenth(rig: Rig, numbers: range) -> float | None:
    """Whether enqueueing slows down as the queue grows."""
    tail = numbers[-max(1, len(numbers) // 10) :]
    began = rig.triggered[tail[0]]
    ended = max(rig.finished[number] for number in tail)
    return round(len(tail) / ((ended - began) / 1e9), 1) if ended > began else None


def _ratio(now: dict[str, Any], then: dict[str, Any], key: str) -> float | None:
    if not now.get(key) or not then.get(key):
        return None
    return round(float(now[key]) / float(then[key]), 3)


def _median_ratio(now: list[dict[str, Any]], then: list[dict[str, Any]], key: str) -> float | None:
    if any(entry.get(key) is None for entry in (*now, *then)):
        return None
    before = statistics.median(float(e[key]) for e in then)
    # Processor time is counted in steps of ten milliseconds: a short round may show none.
    return round(statistics.median(float(e[key]) for e in now) / before, 3) if before else None
