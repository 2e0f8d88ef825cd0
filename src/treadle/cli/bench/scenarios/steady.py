"""Work that is asked for and done at the same time: throughput, latency, await, sustained."""

from bisect import bisect_right
from typing import Any

from treadle.cli.bench.figures import circumstances, work_done
from treadle.cli.bench.plan import Plan
from treadle.cli.bench.rig import Rig, rig_for
from treadle.cli.bench.times import Times, milliseconds_between, spread

_STORE_SECONDS = 600.0


def throughput(plan: Plan) -> dict[str, Any]:
    """Start tasks and await them, as fast as it goes."""
    with rig_for(plan, cells=plan.tasks) as rig:
        _begin(rig)
        report = _measured(rig, "throughput", first=0, count=plan.tasks, window=plan.window)
        # In a queue that is kept full on purpose, the wait says how full.
        report["start_latency_ms"] = spread(milliseconds_between(rig.triggered, rig.started))
        return _close(rig, report | {"window": plan.window})


def latency(plan: Plan, *, gaps: bool = True) -> dict[str, Any]:
    """One task at a time; with random gaps, or each as soon as the last one's result is there."""
    with rig_for(plan, cells=plan.tasks) as rig:
        _begin(rig)
        report = _measured(rig, "latency", first=0, count=plan.tasks, gaps=gaps)
        report["start_latency_ms"] = spread(milliseconds_between(rig.triggered, rig.started))
        report["result_latency_ms"] = spread(milliseconds_between(rig.triggered, rig.finished))
        return _close(rig, report)


def sustained(plan: Plan, *, rate: float, seconds: float) -> dict[str, Any]:
    """Start tasks on schedule, whatever the queue does, and see whether it keeps up."""
    with rig_for(plan, cells=plan.tasks) as rig:
        _begin(rig)
        before = rig.snapshot()
        asked = rig.client.ask("sustained", first=0, count=plan.tasks, rate=rate)
        rig.runs += plan.tasks
        rig.wait_for_starts(range(plan.tasks), seconds=_STORE_SECONDS)
        stored_ns = rig.wait_until_stored(seconds=_STORE_SECONDS)
        rig.check_all_stored()
        due_end = rig.triggered[0] + int(seconds * 1e9)
        report = work_done(before, rig.snapshot(), plan.tasks, asked["began_ns"], stored_ns)
        report |= {
            "rate": rate,
            "start_latency_ms": spread(milliseconds_between(rig.triggered, rig.started)),
            "backlog": backlog(rig.triggered, rig.started, due_end),
            "last_start_after_end_s": round((max(rig.started[at] for at in range(plan.tasks)) - due_end) / 1e9, 3),
            "all_stored_after_end_s": round((stored_ns - due_end) / 1e9, 3),
            "client_late_at_end_s": round((asked["ended_ns"] - due_end) / 1e9, 3),
        }
        return _close(rig, report)


def backlog(due: Times, started: Times, end: int) -> dict[str, int]:
    """Tasks that were due and had not started, at each quarter of the time."""
    moments = sorted(started[at] for at in range(len(started)))
    begin = due[0]
    found = {}
    for quarter in (1, 2, 3, 4):
        at = begin + (end - begin) * quarter // 4
        wanted = sum(1 for number in range(len(due)) if due[number] <= at)
        found[f"after_{quarter * 25}_pct"] = wanted - bisect_right(moments, at)
    return found


def _begin(rig: Rig) -> None:
    rig.start_worker()
    rig.start_client()


def _measured(rig: Rig, do: str, **order: Any) -> dict[str, Any]:
    tasks = rig.plan.tasks
    before = rig.snapshot()
    asked = rig.client.ask(do, **order)
    after = rig.snapshot()
    rig.runs += tasks
    rig.check_all_stored()
    return work_done(before, after, tasks, asked["began_ns"], asked["ended_ns"])


def _close(rig: Rig, report: dict[str, Any]) -> dict[str, Any]:
    return {"scenario": rig.plan.scenario} | report | circumstances(rig) | rig.end_and_count_rows()
