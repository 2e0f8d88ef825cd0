"""What every report tells: the work, the processor time it took, and on what machine that was."""

import asyncio
from typing import Any

from treadle.cli.bench import database
from treadle.cli.bench.machine import describe_machine, describe_versions, load_average
from treadle.cli.bench.rig import Rig, Snapshot


def work_done(before: Snapshot, after: Snapshot, tasks: int, began_ns: int, ended_ns: int) -> dict[str, Any]:
    """Rate, processor time and write-ahead log of one stretch of work."""
    seconds = (ended_ns - began_ns) / 1e9
    return {
        "tasks": tasks,
        "seconds": round(seconds, 3),
        "tasks_per_s": round(tasks / seconds, 1),
        "wal_bytes_per_task": round((after.wal_bytes - before.wal_bytes) / tasks),
        **after.cpu_per_task(before, tasks),
    }


def circumstances(rig: Rig) -> dict[str, Any]:
    """Settings, machine and versions: a figure means nothing without them. Ask while everything runs."""
    plan = rig.plan
    return {
        **rig.memory(),
        "client": plan.client,
        "slots": plan.slots,
        "processes": plan.processes,
        "engines": plan.engines,
        "tenants": plan.tenants,
        "payload_bytes": plan.payload_bytes,
        "load_average": load_average(),
        "machine": describe_machine(),
        "versions": describe_versions(),
        "postgres": asyncio.run(database.read_settings(rig.database_url)),
    }
