"""Tasks that belong together: workflow runs of several tasks, and a task that starts many others."""

import statistics
from typing import Any

from treadle.cli.bench.figures import circumstances, work_done
from treadle.cli.bench.flows import SHAPES
from treadle.cli.bench.machine import load_average
from treadle.cli.bench.plan import Plan
from treadle.cli.bench.rig import Rig, rig_for

_WARM_UP_TASKS = 200
_WARM_UP_CHILDREN = 100
_MODULE = "flows"


def dag(plan: Plan, *, shapes: list[str]) -> dict[str, Any]:
    """Runs of workflows, started and awaited as fast as it goes; each shape on a fresh database."""
    report: dict[str, Any] = {"scenario": plan.scenario, "tasks": plan.tasks, "window": plan.window, "shapes": {}}
    settings: dict[str, Any] = {}
    for shape in shapes:
        with rig_for(plan, cells=1) as rig:
            _begin(rig)
            found, settings = _measure_shape(rig, shape)
            report["shapes"][shape] = found
    return report | settings


def _measure_shape(rig: Rig, shape: str) -> tuple[dict[str, Any], dict[str, Any]]:
    plan, (size, width) = rig.plan, SHAPES[shape]
    warm_up = max(1, _WARM_UP_TASKS // size)
    runs = max(1, plan.tasks // size)
    # Two chunks at once, that together have as many tasks to run at a time as the window holds.
    chunk = max(1, plan.window // width // 2)
    rig.client.ask("dag", shape=shape, runs=warm_up, chunk=chunk)
    before = rig.snapshot()
    asked = rig.client.ask("dag", shape=shape, runs=runs, chunk=chunk)
    after = rig.snapshot()
    tasks = (warm_up + runs) * size
    # The run itself has a result as well.
    others, rig.runs = rig.runs, rig.runs + tasks + warm_up + runs
    rig.check_all_stored()
    report: dict[str, Any] = {"runs": runs, "tasks_per_run": size, "runs_at_once": 2 * chunk}
    report |= work_done(before, after, runs * size, asked["began_ns"], asked["ended_ns"])
    report |= rig.memory()
    report["load_average"] = load_average()
    settings = circumstances(rig)
    return report | rig.end_and_count_rows(tasks=tasks + others), settings


def fanout(plan: Plan, *, rounds: int) -> dict[str, Any]:
    """A task that starts others in bulk and awaits them all, and one that starts twice as many."""
    children = plan.tasks
    once, twice = [], []
    with rig_for(plan, cells=1) as rig:
        _begin(rig)
        rig.client.ask("fanout", children=_WARM_UP_CHILDREN)
        rig.runs += 1 + _WARM_UP_CHILDREN
        for _ in range(rounds):
            once.append(_measure_fanout(rig, children))
            twice.append(_measure_fanout(rig, 2 * children))
        seconds = statistics.median(found["seconds"] for found in once)
        twice_seconds = statistics.median(found["seconds"] for found in twice)
        report = {
            "scenario": plan.scenario,
            "children": children,
            "seconds": seconds,
            "twice_seconds": twice_seconds,
            "ratio": round(twice_seconds / seconds, 3),
            "once": once,
            "twice": twice,
        }
        return report | circumstances(rig) | rig.end_and_count_rows()


def _measure_fanout(rig: Rig, children: int) -> dict[str, Any]:
    before = rig.snapshot()
    asked = rig.client.ask("fanout", children=children)
    after = rig.snapshot()
    rig.runs += 1 + children
    rig.check_all_stored()
    return work_done(before, after, children, asked["began_ns"], asked["ended_ns"])


def _begin(rig: Rig) -> None:
    rig.start_worker(module=_MODULE)
    rig.start_client()
