"""What an engine does with nothing to do, and how soon work goes on when one dies."""

import asyncio
import signal
import statistics
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

from treadle.cli.bench import database
from treadle.cli.bench.figures import circumstances
from treadle.cli.bench.plan import Plan
from treadle.cli.bench.rig import Rig, rig_for

_SETTLE_SECONDS = 12.0
_RECOVERY_SECONDS = 60.0
_BEFORE_KILL_SECONDS = 3.0


def idle(plan: Plan, *, workers: int, seconds: float) -> dict[str, Any]:
    """Tenants and workers are there, work is not."""
    with rig_for(replace(plan, client="treadle"), cells=1) as rig:
        rig.start_worker(tenants=workers)
        asyncio.run(database.wait_for_workers(rig.database_url, workers, seconds=_RECOVERY_SECONDS))
        # Counters of backends that fell silent are handed in after ten seconds.
        time.sleep(_SETTLE_SECONDS)
        before, transactions = rig.snapshot(), asyncio.run(database.read_transactions(rig.database_url))
        began = time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        after, transactions_after = rig.snapshot(), asyncio.run(database.read_transactions(rig.database_url))

        def percent(name: str) -> float | None:
            then, now = getattr(before, name), getattr(after, name)
            return None if then is None or now is None else round((now - then) / (took * 1e4), 2)

        return {
            "scenario": plan.scenario,
            "seconds": round(took, 1),
            "workers": workers,
            # One reading of the counters and one of the log are our own.
            "transactions_per_s": round(max(0, transactions_after - transactions - 2) / took, 2),
            "engine_cpu_pct": percent("engine"),
            "postgres_cpu_pct": percent("postgres"),
            "workers_cpu_pct": percent("worker"),
            "wal_bytes_per_s": round((after.wal_bytes - before.wal_bytes) / took),
        } | circumstances(rig)


def recovery(plan: Plan, *, rate: float, rounds: int) -> dict[str, Any]:
    """Two engines under a steady load; the one that owns the tenant is killed with SIGKILL."""
    gaps, reports = [], []
    settings: dict[str, Any] = {}
    for _ in range(rounds):
        with rig_for(replace(plan, engines=2), cells=plan.tasks) as rig:
            found = _kill_owner(rig, rate)
            gaps.append(found["next_assignment_s"])
            reports.append(found)
            settings = circumstances(rig)
    return {
        "scenario": plan.scenario,
        "rate": rate,
        "tasks": plan.tasks,
        "next_assignment_s": {"median": round(statistics.median(gaps), 3), "max": max(gaps)},
        "rounds": reports,
    } | settings


def _kill_owner(rig: Rig, rate: float) -> dict[str, Any]:
    """One engine owns the only tenant; worker and client are at the other one."""
    tasks = rig.plan.tasks
    address = asyncio.run(database.owner_of_first_tenant(rig.database_url))
    owner = next((number for number, engine in enumerate(rig.engines) if engine.grpc_address == address), 0)
    rig.start_worker(engine=1 - owner)
    rig.start_client(engine=1 - owner)
    rig.client.tell("sustained", first=0, count=tasks, rate=rate)
    rig.wait_for_starts(range(int(rate * _BEFORE_KILL_SECONDS)), seconds=_RECOVERY_SECONDS)
    rig.engines[owner].signal(signal.SIGKILL)
    killed_at = time.time()
    assigned_at = asyncio.run(database.first_assignment_after(rig.database_url, killed_at, seconds=_RECOVERY_SECONDS))
    rig.client.hear()
    rig.runs += tasks
    rig.wait_for_starts(range(tasks), seconds=_RECOVERY_SECONDS)
    rig.wait_until_stored(seconds=_RECOVERY_SECONDS)
    rig.check_all_stored()
    moments = sorted(rig.started[number] for number in range(tasks))
    return {
        "next_assignment_s": round(assigned_at - killed_at, 3),
        "longest_gap_between_starts_s": round(max(later - earlier for earlier, later in pairwise(moments)) / 1e9, 3),
    }
