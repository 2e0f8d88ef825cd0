"""How long it takes to look at runs, as a person or the dashboard would."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from treadle.cli.bench.times import percentile
from treadle.cli.engine import Engine
from treadle.sdk.gateway import Gateway
from treadle.wire.gen.treadle.v1 import runs_pb2

_PAGE = 50
_SECONDS = 5.0


def time_listing(gateway: Gateway, calls: int) -> dict[str, Any]:
    """Milliseconds of each kind of look, median and 95th percentile; fewer calls of a kind that takes long."""
    engine = Engine(gateway)
    newest = runs_pb2.ListRunsRequest()
    completed = runs_pb2.ListRunsRequest(statuses=[runs_pb2.RUN_STATUS_COMPLETED])
    running = runs_pb2.ListRunsRequest(statuses=[runs_pb2.RUN_STATUS_RUNNING, runs_pb2.RUN_STATUS_QUEUED])
    spreads: dict[str, Any] = {}
    for name, request in (("newest", newest), ("completed", completed), ("active", running)):
        spreads[name] = _time(calls, partial(_page, engine, request))
    first = next(engine.list_runs(newest, 1))
    spreads["one"] = _time(calls, lambda: engine.get(first.id))
    return spreads


def _page(engine: Engine, request: runs_pb2.ListRunsRequest) -> list[runs_pb2.RunSummary]:
    return list(engine.list_runs(request, _PAGE))


def _time(calls: int, call: Callable[[], object]) -> dict[str, float | None]:
    took: list[float] = []
    while len(took) < calls and sum(took) < _SECONDS * 1e3:
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1e3)
    took.sort()
    return {"p50": percentile(took, 0.5), "p95": percentile(took, 0.95)}
