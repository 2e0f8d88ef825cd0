"""Makes tables of the reports that run_all.sh left: `python tables.py FOLDER`."""

import json
import sys
from pathlib import Path

Report = dict[str, object]

TARGETS = (
    # report, what is asked, where it stands, sign, target
    ("throughput", "tasks/s, started, run and awaited at once", "tasks_per_s", ">=", 12_000),
    ("throughput", "row versions per task", "row_versions_per_task", "<=", 10),
    ("throughput", "WAL bytes per task", "wal_bytes_per_task", "<=", 3_072),
    ("throughput", "engine CPU µs per task", "engine_cpu_us_per_task", "<=", 45),
    ("drain-20k", "tasks/s, 20,000 preloaded", "tasks_per_s", ">=", 20_000),
    ("drain-200k", "tasks/s, 200,000 preloaded", "tasks_per_s", ">=", 20_000),
    ("latency", "idle start latency p50, ms", "start_latency_ms.p50", "<=", 3),
    ("latency", "idle start latency p99, ms", "start_latency_ms.p99", "<=", 10),
    ("await", "enqueue and await p50, ms", "result_latency_ms.p50", "<=", 5),
    ("sustained-2000", "start latency p99 at 2000/s, ms", "start_latency_ms.p99", "<=", 50),
    ("backlog", "enqueue at 1,000,000 queued, of the rate when empty", "ratios.enqueue", ">=", 0.8),
    ("backlog", "drain at 1,000,000 queued, of the rate when empty", "ratios.drain", ">=", 0.8),
    ("backlog", "engine peak RSS, MiB", "engine_peak_rss_mb", "<=", 500),
    ("growth", "drain with 2,000,000 finished runs, of the rate when empty", "ratios.drain", ">=", 0.95),
    ("dag", "tasks/s of workflows, chains of 10", "shapes.chain.tasks_per_s", ">=", 4_000),
    ("dag", "tasks/s of workflows, diamonds of 4", "shapes.diamond.tasks_per_s", ">=", 4_000),
    ("dag", "tasks/s of workflows, 1 to 100 to 1", "shapes.fan.tasks_per_s", ">=", 4_000),
    ("fanout", "seconds for 10,000 children of one task", "seconds", "<=", 3),
    ("fanout", "seconds for 20,000, of those for 10,000", "ratio", "<=", 2.3),
    ("idle", "transactions/s, 100 tenants and 20 workers", "transactions_per_s", "<=", 5),
    ("idle", "engine CPU, % of one core", "engine_cpu_pct", "<=", 2),
    ("recovery", "owner killed: seconds to the next assignment", "next_assignment_s.max", "<=", 5),
)

# The figures by which the median of three rounds is chosen.
ROUNDS = {
    ("throughput", "tasks_per_s"),
    ("drain-20k", "tasks_per_s"),
    ("drain-200k", "tasks_per_s"),
    ("latency", "start_latency_ms.p50"),
    ("await", "result_latency_ms.p50"),
    ("sustained-2000", "start_latency_ms.p99"),
}
SIZES = {"drain-200k": ("tasks", 200_000), "backlog": ("tasks", 1_000_000), "growth": ("history", 2_000_000)}

COLUMNS = (
    ("tasks", "tasks"),
    ("tasks/s", "tasks_per_s"),
    ("start p50 ms", "start_latency_ms.p50"),
    ("p95", "start_latency_ms.p95"),
    ("p99", "start_latency_ms.p99"),
    ("result p50 ms", "result_latency_ms.p50"),
    ("p99", "result_latency_ms.p99"),
    ("engine µs", "engine_cpu_us_per_task"),
    ("PostgreSQL µs", "postgres_cpu_us_per_task"),
    ("worker µs", "worker_cpu_us_per_task"),
    ("client µs", "client_cpu_us_per_task"),
    ("WAL B", "wal_bytes_per_task"),
    ("rows", "row_versions_per_task"),
    ("engine MiB", "engine_peak_rss_mb"),
    ("load", "load_average"),
)
# What is told of a stretch of work, wherever it stands.
COSTS = (
    "engine_cpu_us_per_task",
    "postgres_cpu_us_per_task",
    "worker_cpu_us_per_task",
    "client_cpu_us_per_task",
    "wal_bytes_per_task",
)
COST_HEADS = ["engine µs", "PostgreSQL µs", "worker µs", "client µs", "WAL B"]
_HEAD = """# Measured figures

Written by `make bench-all` (bench/run_all.sh). [METHOD.md](METHOD.md) says what is measured and how, and what the words
mean. The targets were set for another machine of 2 virtual cores, on which pgqueuer drained 29,000 tasks/s and Oban
13,400; what they do on this one stands at the end.
"""

_PEERS = """## Beside other task queues

`treadle bench peers`, on one machine and one database server: [all figures](peers/RESULTS.md),
[method](peers/README.md).

![Rates and latencies of task queues](peers/peers.svg)
"""

# With the processes mostly idle, time per task would only show what idling costs.
NO_CPU = ("latency", "await")


def at(report: Report, path: str) -> object:
    """The value at a.b.c, or None."""
    found: object = report
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return found


def show(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def verdicts(reports: dict[str, Report]) -> str:
    rows = []
    for name, what, path, sign, target in TARGETS:
        value, rounds = at(reports.get(name, {}), path), at(reports.get(name, {}), "rounds")
        if not isinstance(value, int | float):
            rows.append([what, f"{sign} {target:,}", "not measured", "", ""])
            continue
        reached = "yes" if (value >= target if sign == ">=" else value <= target) else "no"
        size, wanted = SIZES.get(name, ("tasks", 0))
        done = at(reports[name], size)
        if isinstance(done, int) and done < wanted:
            # A smaller run says nothing about the target, whatever it shows.
            reached = f"not measured at this size ({size} {done:,})"
        others = ", ".join(show(found) for found in rounds) if isinstance(rounds, list) else ""
        rows.append([what, f"{sign} {target:,}", show(value), reached, others if (name, path) in ROUNDS else ""])
    return table(["figure", "target", "measured", "reached", "all rounds"], rows)


def work(reports: dict[str, Report]) -> str:
    rows = []
    for name, report in reports.items():
        if at(report, "tasks_per_s") is None:
            continue
        hide = name.startswith(NO_CPU)
        cells = ["" if hide and "_cpu_" in path else show(at(report, path)) for _, path in COLUMNS]
        rows.append([name, *cells])
    return table(["scenario", *(label for label, _ in COLUMNS)], rows)


def phases(report: Report, labels: dict[str, str]) -> str:
    """Scenarios that compare two states of the tables or of the queue."""
    rows = []
    for label, path in labels.items():
        phase = at(report, path)
        if not isinstance(phase, dict):
            continue
        keys = ["enqueue.tasks_per_s", "tasks_per_s", "engine_cpu_us_per_task", "postgres_cpu_us_per_task"]
        rows.append([label, *(show(at(phase, key)) for key in keys)])
    return table(["", "enqueue/s", "drain/s", "engine µs", "PostgreSQL µs"], rows)


def growth(report: Report) -> str:
    parts = []
    for state in ("empty", "grown"):
        drains = at(report, f"{state}.drains")
        rounds = drains if isinstance(drains, list) else []
        listed = at(report, f"{state}.list_ms")
        looks = listed if isinstance(listed, dict) else {}
        rates = ", ".join(show(at(entry, "tasks_per_s")) for entry in rounds)
        parts.append([state, rates, *(show(at(spread, "p50")) for spread in looks.values())])
    names = at(report, "empty.list_ms")
    kinds = [f"list {kind} p50 ms" for kind in names] if isinstance(names, dict) else []
    return table(["", "drains/s", *kinds], parts)


def workflows(report: Report) -> str:
    """Each shape of `dag`."""
    found = at(report, "shapes")
    rows = []
    for name, shape in found.items() if isinstance(found, dict) else ():
        keys = ["tasks_per_run", "runs", "tasks_per_s", *COSTS, "row_versions_per_task", "load_average"]
        rows.append([name, *(show(at(shape, key)) for key in keys)])
    return table(["shape", "tasks in a run", "runs", "tasks/s", *COST_HEADS, "rows", "load"], rows)


def fanout(report: Report) -> str:
    """Each round of `fanout`."""
    rows = []
    for name in ("once", "twice"):
        rounds = at(report, name)
        rows += [
            [show(at(found, key)) for key in ("tasks", "seconds", "tasks_per_s", *COSTS)]
            for found in (rounds if isinstance(rounds, list) else ())
        ]
    return table(["children", "seconds", "children/s", *COST_HEADS], rows)


def main(folder: Path) -> str:
    reports: dict[str, Report] = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    parts = [_HEAD]
    if reports:
        newest = next(iter(reports.values()))
        for key in ("machine", "versions", "postgres"):
            facts = newest[key]
            if isinstance(facts, dict):
                parts.append(f"{key}: " + ", ".join(f"{name} {value}" for name, value in facts.items()) + "\n")
    parts += ["## Targets\n", verdicts(reports), "## Scenarios\n", work(reports)]
    if "backlog" in reports:
        parts += ["## Backlog\n", phases(reports["backlog"], {"shallow": "shallow", "deep": "deep"})]
    if "growth" in reports:
        parts += ["## Growth\n", growth(reports["growth"])]
    if "dag" in reports:
        parts += ["## Workflows\n", workflows(reports["dag"])]
    if "fanout" in reports:
        parts += ["## Children\n", fanout(reports["fanout"])]
    if "sustained-2000" in reports:
        waiting = at(reports["sustained-2000"], "backlog")
        parts.append(f"Sustained 2000/s: tasks due and not started at each quarter: {json.dumps(waiting)}\n")
    if "recovery" in reports:
        parts.append(f"Recovery, each round: {json.dumps(at(reports['recovery'], 'rounds'))}\n")
    return "\n".join([*parts, _PEERS])


if __name__ == "__main__":
    print(main(Path(sys.argv[1])), end="")
