"""Runs one scenario against one peer, in fresh state, and prints one JSON line.

    ./run run.py PEER SCENARIO [--n N] [--old N]

Scenarios: enqueue (S1), drain1 drain2 (S2, S7), idle (S3), open300 open1000 (S4),
roundtrip (S5), growth (S6, with --old finished rows).
Holds an exclusive lock on a file beside the servers for the length of the run.
"""

import argparse
import asyncio
import fcntl
import json
import pathlib
import random
import signal
import struct
import subprocess
import sys
import time

import psutil

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import contextlib

import servers
from adapters import registry
from adapters.base import PgPeer

RUN = servers.RUN
now = time.monotonic


def pct(xs, q):
    xs = sorted(xs)
    return xs[min(len(xs) - 1, int(q * len(xs)))] if xs else None


def ms(xs):
    return {f"p{int(q * 100)}_ms": round(pct(xs, q) * 1e3, 2) for q in (0.5, 0.95, 0.99)} if xs else {}


def tree_cpu(procs):
    total = 0.0
    for p in procs:
        try:
            ps = psutil.Process(p.pid)
            for q in [ps, *ps.children(recursive=True)]:
                t = q.cpu_times()
                total += t.user + t.system
        except psutil.NoSuchProcess:
            pass
    return total


class Workers:
    """n worker processes of a peer, and the file into which their tasks write their starts."""

    def __init__(self, peer, n):
        self.rec = RUN / "starts.bin"
        self.rec.unlink(missing_ok=True)
        self.rec.touch()
        self.log = (RUN / f"worker-{peer.name}.log").open("wb")
        self.procs = [peer.spawn_worker(self.rec, self.log) for _ in range(n)]

    def count(self):
        return self.rec.stat().st_size // 16

    def starts(self):
        """First recorded start of each task id, in seconds, and how many starts there were in all."""
        first, data = {}, self.rec.read_bytes()
        for i, t in struct.iter_unpack("<qq", data[: len(data) // 16 * 16]):
            first.setdefault(i, t / 1e9)
        return first, len(data) // 16

    async def wait(self, n, seconds, step=0.005):
        end = now() + seconds
        while self.count() < n:
            if now() > end:
                return False
            if any(p.poll() is not None for p in self.procs):
                raise RuntimeError("a worker exited; see its log")
            await asyncio.sleep(step)
        return True

    def stop(self):
        for p in self.procs:
            kids = psutil.Process(p.pid).children(recursive=True) if p.poll() is None else []
            for q in (p, *kids):
                with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                    q.send_signal(signal.SIGTERM)
            try:
                p.wait(3)
            except subprocess.TimeoutExpired:
                for q in (p, *kids):
                    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                        q.kill()
                p.wait(5)


class PgMeter:
    """WAL position and database size, for Postgres peers."""

    def __init__(self, peer):
        self.peer = peer if isinstance(peer, PgPeer) else None

    async def read(self):
        if not self.peer:
            return None
        return (
            int(await self.peer.admin("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")),
            await self.peer.admin(f"SELECT pg_database_size('{self.peer.db}')"),
        )


async def enqueue(peer, a):
    out = {}
    await peer.open()
    m = PgMeter(peer)
    w0 = await m.read()
    t = now()
    await peer.bulk(a.n)
    out["bulk_per_s"] = round(a.n / (now() - t))
    if w0:
        out["wal_bytes_per_enqueue"] = round(((await m.read())[0] - w0[0]) / a.n)
    await peer.close()

    k = a.n // 4
    await peer.reset()
    await peer.open()
    t = now()
    for i in range(k):
        await peer.one(i)
    out["seq_per_s"] = round(k / (now() - t))
    await peer.close()

    await peer.reset()
    await peer.open(32)
    one = peer.one_threaded if peer.threads else peer.one
    await asyncio.gather(*(one(i) for i in range(32)))  # opens the connections

    async def lane(j):
        for i in range(j, k, 32):
            await one(i)

    t = now()
    await asyncio.gather(*(lane(j) for j in range(32)))
    out["conc32_per_s"] = round(k / (now() - t))
    await peer.close()
    return out


async def drain(peer, a, workers):
    m = PgMeter(peer)
    w0 = await m.read()
    await peer.open()
    await peer.bulk(a.n)
    await peer.close()
    w1 = await m.read()
    spawned = now()
    w = Workers(peer, workers)
    try:
        assert await w.wait(1, 30), "no task started"
        t0, wc0, sc0 = now(), tree_cpu(w.procs), peer.server_cpu()
        ok = await w.wait(a.n, a.timeout)
        t1 = t2 = now()
        done = await peer.done()
        while done is not None and done < a.n and now() - t1 < 30:
            await asyncio.sleep(0.02)
            done = await peer.done()
        if done is not None:
            t2 = now()
        wc1, sc1 = tree_cpu(w.procs), peer.server_cpu()
        starts, total = w.starts()
        # the clock starts at the first task's start, as the worker saw it
        t0 = min(t0, *starts.values())
        n = len(starts)
        out = {
            "workers": workers,
            "tasks_per_s": round(n / (t2 - t0)),
            "complete": ok and done in (None, a.n),
            "run_per_s": round(n / (t1 - t0)),
            "boot_s": round(t0 - spawned, 2),
            "duplicates": total - n,
            "worker_cpu_s_per_1k": round((wc1 - wc0) / n * 1e3, 3),
            "server_cpu_s_per_1k": round((sc1 - sc0) / n * 1e3, 3),
        }
        if w0:
            w2 = await m.read()
            out |= {
                "wal_bytes_per_task_enqueue": round((w1[0] - w0[0]) / a.n),
                "wal_bytes_per_task_run": round((w2[0] - w1[0]) / n),
                "disk_bytes_per_task": round((w2[1] - w0[1]) / a.n),
            }
        return out
    finally:
        w.stop()


async def started_workers(peer, n=1):
    """Workers that have already run a few warm-up tasks (ids below 0)."""
    await peer.open(32 if not peer.threads else 8)
    w = Workers(peer, n)
    try:
        for i in range(1, 11):
            await peer.one(-i)
            await asyncio.sleep(0.05)
        assert await w.wait(10, 30), "warm-up tasks did not start"
        await asyncio.sleep(1.5)
    except BaseException:
        w.stop()
        raise
    return w


async def idle(peer, a):
    w = await started_workers(peer)
    try:
        lat, samples = [], a.samples
        for i in range(samples):
            # a random gap, long enough that a poller is met at any phase
            await asyncio.sleep(random.uniform(0.03, 0.08) + random.uniform(0, peer.poll))
            base = w.count()
            t = now()
            await peer.one(i)
            assert await w.wait(base + 1, 30, step=0.001)
            lat.append(w.starts()[0][i] - t)
        return {"samples": samples, **ms(lat)}
    finally:
        w.stop()
        await peer.close()


async def open_loop(peer, a, rate):
    seconds = 20
    w = await started_workers(peer)
    one = (lambda i: peer.one_threaded(i, 8)) if peer.threads else peer.one
    try:
        n, failed = rate * seconds, 0
        base, tasks, t0 = w.count(), set(), now()
        wc0, sc0 = tree_cpu(w.procs), peer.server_cpu()
        i = 0
        while i < n:
            late = now() - t0
            while i < n and i / rate <= late:
                tasks.add(asyncio.create_task(one(i)))
                i += 1
            await asyncio.sleep(max(0, t0 + i / rate - now()))
        t_end = t0 + seconds
        started_by_end = w.count() - base
        finished = await w.wait(base + n, 25, step=0.02)
        wc1, sc1 = tree_cpu(w.procs), peer.server_cpu()
        pending = sum(not t.done() for t in tasks)
        for t in tasks:
            if t.done() and t.exception():
                failed += 1
            t.cancel()
        starts, _ = w.starts()
        lat = [starts[k] - (t0 + k / rate) for k in range(n) if k in starts]
        last = max((starts[k] for k in range(n) if k in starts), default=t_end)
        return {
            "rate": rate,
            **ms(lat),
            "started_by_20s": started_by_end,
            "offered": n,
            "not_started": n - len(lat),
            "lag_s": round(last - t_end, 2),
            "keeps_up": finished and last - t_end < 2.0 + peer.poll,
            "enqueue_pending": pending,
            "enqueue_failed": failed,
            "worker_cpu_pct": round((wc1 - wc0) / (now() - t0) * 100),
            "server_cpu_pct": round((sc1 - sc0) / (now() - t0) * 100),
        }
    finally:
        w.stop()
        await peer.close()


async def roundtrip(peer, a):
    peer.results = "1"  # Celery: needs a result backend for this one
    w = await started_workers(peer)
    try:
        lat = []
        for i in range(a.samples):
            t = now()
            await peer.roundtrip(i)
            lat.append(now() - t)
        return {"samples": a.samples, **ms(lat)}
    except NotImplementedError:
        return {"unsupported": "no result API"}
    finally:
        w.stop()
        await peer.close()


async def growth(peer, a):
    tmpl = f"grown_{peer.name}_{a.old}"
    if not await peer.admin(f"SELECT 1 FROM pg_database WHERE datname = '{tmpl}'"):
        db, peer.db = peer.db, tmpl
        await peer.reset()
        await peer.prefill(a.old)
        await peer.admin("VACUUM ANALYZE", tmpl)
        await peer.cleanup()
        peer.db = db
    await peer.create_db(tmpl)
    await peer.ready()
    await peer.admin("CHECKPOINT")
    before = await peer.done()
    real = peer.done

    async def done():
        return await real() - before

    peer.done = done
    return {"old_rows": a.old, **await drain(peer, a, 1)}


async def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("peer", choices=registry.PEERS)
    ap.add_argument("scenario")
    ap.add_argument("--n", type=int, default=20000)
    ap.add_argument("--samples", type=int, default=200)
    ap.add_argument("--old", type=int, default=1_000_000)
    ap.add_argument("--timeout", type=float, default=120)
    a = ap.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that workers are stopped
    with (servers.ROOT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        peer = registry.load(a.peer)
        servers.start(peer.server)
        out = {"peer": a.peer, "scenario": a.scenario, "n": a.n}
        t = now()
        try:
            if a.scenario != "growth":
                await peer.reset()
                if isinstance(peer, PgPeer):
                    await peer.admin("CHECKPOINT")
            fn = {
                "enqueue": lambda: enqueue(peer, a),
                "drain1": lambda: drain(peer, a, 1),
                "drain2": lambda: drain(peer, a, 2),
                "idle": lambda: idle(peer, a),
                "open300": lambda: open_loop(peer, a, 300),
                "open1000": lambda: open_loop(peer, a, 1000),
                "roundtrip": lambda: roundtrip(peer, a),
                "growth": lambda: growth(peer, a),
            }[a.scenario]
            out |= await fn()
        except Exception as e:  # noqa: BLE001 - a failed run is a result too
            out["error"] = f"{type(e).__name__}: {e}"[:300]
        finally:
            await peer.cleanup()
        out["wall_s"] = round(now() - t, 1)
        out["at"] = time.strftime("%H:%M:%S")
    print(json.dumps(out), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
