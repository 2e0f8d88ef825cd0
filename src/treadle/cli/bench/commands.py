"""The scenarios of `treadle bench` as commands."""

from typing import Annotated

import typer

from treadle.cli.bench.options import (
    AsJson,
    Client,
    DatabaseUrl,
    Engines,
    Folder,
    MaybeTasks,
    PayloadBytes,
    Processes,
    Shape,
    Slots,
    Tasks,
    Tenants,
    Whose,
    Window,
    make_plan,
    report,
)

app = typer.Typer(
    help="Measure engine, worker and client on this machine, each a process of its own, on a fresh database.",
    no_args_is_help=True,
)

Rate = Annotated[float, typer.Option(min=0.1, help="Tasks per second.")]
Seconds = Annotated[float, typer.Option(min=1, help="How long.")]


@app.command()
def throughput(
    *,
    as_json: AsJson = False,
    tasks: MaybeTasks = None,
    client: Whose = Client.TREADLE,
    slots: Slots = 2000,
    processes: Processes = 1,
    payload_bytes: PayloadBytes = 0,
    tenants: Tenants = 1,
    engines: Engines = 1,
    window: Window = 2000,
    data_dir: Folder = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Start no-op tasks and await them, as fast as it goes."""
    from treadle.cli.bench.scenarios import steady

    plan = make_plan(
        "throughput",
        tasks=tasks or (5_000 if client is Client.HATCHET else 50_000),
        client=client.value,
        slots=slots,
        processes=processes,
        payload_bytes=payload_bytes,
        tenants=tenants,
        engines=engines,
        window=window,
        parent_dir=data_dir,
        database_url=database_url,
    )
    report(steady.throughput, plan, as_json=as_json)


@app.command()
def latency(
    *,
    as_json: AsJson = False,
    tasks: Tasks = 500,
    client: Whose = Client.TREADLE,
    payload_bytes: PayloadBytes = 0,
    data_dir: Folder = None,
    database_url: DatabaseUrl = None,
) -> None:
    """One task at a time with random gaps, on an idle engine: from the call to the start, and to the result."""
    from treadle.cli.bench.scenarios import steady

    plan = make_plan(
        "latency",
        tasks=tasks,
        client=client.value,
        payload_bytes=payload_bytes,
        parent_dir=data_dir,
        database_url=database_url,
    )
    report(steady.latency, plan, as_json=as_json)


@app.command("await")
def await_(
    *,
    as_json: AsJson = False,
    tasks: Tasks = 1000,
    client: Whose = Client.TREADLE,
    payload_bytes: PayloadBytes = 0,
    data_dir: Folder = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Start a task and await its result, one after the other without a pause."""
    from treadle.cli.bench.scenarios import steady

    plan = make_plan(
        "await",
        tasks=tasks,
        client=client.value,
        payload_bytes=payload_bytes,
        parent_dir=data_dir,
        database_url=database_url,
    )
    report(steady.latency, plan, as_json=as_json, gaps=False)


@app.command()
def drain(
    *,
    as_json: AsJson = False,
    tasks: MaybeTasks = None,
    client: Whose = Client.TREADLE,
    slots: Slots = 1000,
    processes: Processes = 1,
    payload_bytes: PayloadBytes = 0,
    data_dir: Folder = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Queue tasks while no worker is there, then time a worker from its first start to the last result stored."""
    from treadle.cli.bench.scenarios import drains

    plan = make_plan(
        "drain",
        tasks=tasks or (5_000 if client is Client.HATCHET else 20_000),
        client=client.value,
        slots=slots,
        processes=processes,
        payload_bytes=payload_bytes,
        parent_dir=data_dir,
        database_url=database_url,
    )
    report(drains.drain, plan, as_json=as_json)


@app.command()
def dag(
    *,
    as_json: AsJson = False,
    tasks: Annotated[int, typer.Option("--tasks", min=1, help="How many of each shape, in whole runs.")] = 20_000,
    shape: Annotated[list[Shape] | None, typer.Option("--shape", help="Only this one.")] = None,
    slots: Slots = 2000,
    processes: Processes = 1,
    window: Annotated[int, typer.Option("--window", min=1, help="Most tasks that can run at once.")] = 2000,
    data_dir: Folder = None,
) -> None:
    """Run workflows of several tasks: a chain of 10, a diamond of 4, and one task, 100 after it, one after those."""
    from treadle.cli.bench.scenarios import flows

    plan = make_plan("dag", tasks=tasks, slots=slots, processes=processes, window=window, parent_dir=data_dir)
    report(flows.dag, plan, as_json=as_json, shapes=[each.value for each in shape or Shape])


@app.command()
def fanout(
    *,
    as_json: AsJson = False,
    children: Annotated[int, typer.Option(min=1, help="How many, and twice as many.")] = 10_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often; medians are compared.")] = 3,
    slots: Slots = 1000,
    processes: Processes = 1,
    data_dir: Folder = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Let one task start N others in bulk and await all results, and then one 2N: seconds, and their ratio."""
    from treadle.cli.bench.scenarios import flows

    plan = make_plan(
        "fanout",
        tasks=children,
        slots=slots,
        processes=processes,
        parent_dir=data_dir,
        database_url=database_url,
    )
    report(flows.fanout, plan, as_json=as_json, rounds=rounds)


@app.command()
def sustained(
    *,
    as_json: AsJson = False,
    rate: Rate = 2000,
    seconds: Seconds = 30,
    slots: Slots = 1000,
    processes: Processes = 1,
    payload_bytes: PayloadBytes = 0,
    tenants: Tenants = 1,
    engines: Engines = 1,
    data_dir: Folder = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Start tasks on schedule, whatever the queue does: start latency from the intended moment, and the backlog."""
    from treadle.cli.bench.scenarios import steady

    plan = make_plan(
        "sustained",
        tasks=max(1, int(rate * seconds)),
        slots=slots,
        processes=processes,
        payload_bytes=payload_bytes,
        tenants=tenants,
        engines=engines,
        parent_dir=data_dir,
        database_url=database_url,
    )
    report(steady.sustained, plan, as_json=as_json, rate=rate, seconds=seconds)


@app.command()
def backlog(
    *,
    as_json: AsJson = False,
    tasks: Tasks = 1_000_000,
    slots: Slots = 1000,
    processes: Processes = 1,
    data_dir: Folder = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Queue and drain a deep backlog, against a shallow one of at most 50000 in the same run."""
    from treadle.cli.bench.scenarios import drains

    plan = make_plan(
        "backlog", tasks=tasks, slots=slots, processes=processes, parent_dir=data_dir, database_url=database_url
    )
    report(drains.backlog, plan, as_json=as_json)


@app.command()
def growth(
    *,
    as_json: AsJson = False,
    history: Annotated[int, typer.Option(min=1, help="Finished runs in the tables.")] = 2_000_000,
    tasks: Tasks = 20_000,
    rounds: Annotated[int, typer.Option(min=1, help="Drains before and after; medians are compared.")] = 3,
    slots: Slots = 1000,
    processes: Processes = 1,
    data_dir: Folder = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Drain and list with many finished runs in the tables, against none."""
    from treadle.cli.bench.scenarios import drains

    plan = make_plan(
        "growth", tasks=tasks, slots=slots, processes=processes, parent_dir=data_dir, database_url=database_url
    )
    report(drains.growth, plan, as_json=as_json, history=history, rounds=rounds)


@app.command()
def idle(
    *,
    as_json: AsJson = False,
    tenants: Tenants = 100,
    workers: Annotated[int, typer.Option(min=1, help="Workers, each of another tenant.")] = 20,
    engines: Engines = 1,
    seconds: Seconds = 20,
    data_dir: Folder = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Nothing to do: transactions a second and CPU while tenants and workers wait."""
    from treadle.cli.bench.scenarios import quiet

    plan = make_plan(
        "idle", tasks=1, tenants=max(tenants, workers), engines=engines, parent_dir=data_dir, database_url=database_url
    )
    report(quiet.idle, plan, as_json=as_json, workers=workers, seconds=seconds)


@app.command()
def recovery(
    *,
    as_json: AsJson = False,
    rate: Rate = 300,
    seconds: Seconds = 15,
    rounds: Annotated[int, typer.Option(min=1, help="How often; each on a fresh database.")] = 3,
    data_dir: Folder = None,
) -> None:
    """Kill the engine that owns the tenant, under load: seconds until the other one assigns the next task."""
    from treadle.cli.bench.scenarios import quiet

    plan = make_plan("recovery", tasks=max(1, int(rate * seconds)), engines=2, parent_dir=data_dir)
    report(quiet.recovery, plan, as_json=as_json, rate=rate, rounds=rounds)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def peers(context: typer.Context) -> None:
    """Run the same scenarios on other task queues, from a checkout: bench/peers/README.md says what is needed.

    What is given besides goes to bench/peers/all.py, e.g. --rounds 1 --peers treadle,oban.
    """
    from treadle.cli.bench.peers import run_peers

    raise typer.Exit(run_peers(context.args))
