"""Runs scenarios for peers, n rounds, in one go; then writes RESULTS.md and the plot.

./run --rounds 3 --peers treadle,oban,pgqueuer --scenarios enqueue,drain1,drain2

A peer whose server or library is missing is left out, and said so.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import time

import servers
from adapters import registry

HERE = pathlib.Path(__file__).resolve().parent
SCENARIOS = ("enqueue", "drain1", "drain2", "idle", "open300", "open1000", "roundtrip", "growth")
# fewer samples where a single one takes the peer's polling interval
SAMPLES = {
    ("dbos", "idle"): 30,
    ("dbos", "roundtrip"): 30,
    ("chancy", "roundtrip"): 15,
    ("absurd", "roundtrip"): 50,
    ("absurd", "idle"): 100,
    ("taskiq-redis", "roundtrip"): 50,
    ("pgqueuer", "roundtrip"): 100,
    ("dbos-poll0.1", "roundtrip"): 30,
    ("dbos-poll0.1", "idle"): 100,
    ("temporal-dev", "idle"): 50,
    ("temporal-dev", "roundtrip"): 50,
}
# fewer tasks where they would take minutes
TASKS = {
    "temporal-dev": 1000,
    "procrastinate": 4000,
    "dbos": 4000,
    "dbos-poll0.1": 4000,
    "absurd": 4000,
    "celery-rabbitmq": 4000,
    "celery-rabbitmq-noconfirm": 4000,
    "celery-rabbitmq-solo": 4000,
    "celery-redis": 4000,
    "taskiq-redis": 10_000,
}
GROWTH = ("treadle", "pgqueuer", "chancy", "procrastinate")  # those that say how their finished rows look
NEEDS = {"redis": "redis-server", "rabbitmq": "rabbitmq-server"}
STOP_SECONDS = 20


def missing(name):
    """Why a peer cannot run here, or None."""
    try:
        peer = registry.load(name)
    except ImportError as problem:
        return str(problem)
    program = NEEDS.get(peer.server)
    return f"no {program} on this machine" if program and not shutil.which(program) else None


def run_one(peer, scenario, a):
    """One line of JSON, or None when it took too long."""
    samples = min(a.samples, SAMPLES.get((peer, scenario), a.samples))
    cmd = [sys.executable, str(HERE / "run.py"), peer, scenario, "--old", str(a.old), "--samples", str(samples)]
    cmd += ["--n", str(min(a.n, TASKS.get(peer, a.n)))]
    with subprocess.Popen(cmd, stdout=subprocess.PIPE, text=True) as process:
        try:
            return process.communicate(timeout=a.limit)[0]
        except subprocess.TimeoutExpired:
            process.terminate()  # it stops its workers
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            return None


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--rounds", type=int, default=1)
    ap.add_argument("--peers", default=",".join(registry.PEERS))
    ap.add_argument("--scenarios", default=",".join(SCENARIOS))
    ap.add_argument("--old", type=int, default=1_000_000, help="finished rows in growth")
    ap.add_argument("--n", type=int, default=20_000, help="tasks in enqueue and drain")
    ap.add_argument("--samples", type=int, default=200)
    ap.add_argument("--limit", type=float, default=300, help="seconds for one scenario")
    ap.add_argument("--append", action="store_true", help="add to the results that are there")
    a = ap.parse_args()
    results = HERE / "results.jsonl"
    if not a.append:
        results.unlink(missing_ok=True)
    peers = []
    for peer in a.peers.split(","):
        why = missing(peer)
        if why is None:
            peers.append(peer)
        else:
            print(f"left out: {peer}: {why}", flush=True)
    for _ in range(a.rounds):
        for peer in peers:
            for scenario in a.scenarios.split(","):
                if scenario == "growth" and peer not in GROWTH:
                    continue
                line = run_one(peer, scenario, a)
                if not line:
                    line = (
                        json.dumps({"peer": peer, "scenario": scenario, "error": f"not done in {a.limit:g} s"}) + "\n"
                    )
                print(line, end="", flush=True)
                with results.open("a") as f:
                    f.write(line)
            for server in ("redis", "rabbitmq", "temporal"):  # an idle broker would still take CPU from the next peer
                servers.stop(server)
    subprocess.run([sys.executable, str(HERE / "report.py"), time.strftime("%Y-%m-%d")], check=True)
    servers.stop("postgres")


if __name__ == "__main__":
    main()
