"""What this machine and this PostgreSQL can do at most; prints one JSON line per figure (median, min, max of 3)."""

import asyncio
import fcntl
import json
import re
import statistics
import subprocess
import sys
import time
from functools import partial

import asyncpg
import servers

DB = "peers_ceilings"
DSN = f"{servers.PG_DSN}/{DB}"
PAYLOAD = json.dumps({"i": 123456, "pad": "x" * 78})  # 100 bytes
TABLE = "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload jsonb NOT NULL)"
now = time.monotonic


def report(name, xs, unit):
    print(
        json.dumps(
            {
                "ceiling": name,
                "median": round(statistics.median(xs), 3),
                "min": round(min(xs), 3),
                "max": round(max(xs), 3),
                "unit": unit,
            }
        ),
        flush=True,
    )


def locked(fn):
    with (servers.ROOT / "lock").open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        return fn()


def pgbench(flags, clients):
    out = subprocess.run(
        [
            servers.pg_bin("pgbench"),
            "-h",
            "127.0.0.1",
            "-p",
            str(servers.PG_PORT),
            "-U",
            "postgres",
            "-n",
            "-M",
            "prepared",
            "-T",
            "5",
            "-c",
            str(clients),
            "-j",
            str(min(clients, 2)),
            *flags,
            DB,
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return float(re.search(r"tps = ([\d.]+)", out)[1])


async def fresh():
    c = await asyncpg.connect(DSN)
    await c.execute("DROP TABLE IF EXISTS t")
    await c.execute(TABLE)
    await c.execute("CHECKPOINT")
    return c


async def copy(n=300_000):
    c = await fresh()
    rows = [(PAYLOAD,)] * n
    t = now()
    await c.copy_records_to_table("t", records=rows, columns=["payload"])
    r = n / (now() - t)
    await c.close()
    return r


async def unnest(n=200_000, k=500):
    c = await fresh()
    st = await c.prepare("INSERT INTO t(payload) SELECT * FROM unnest($1::jsonb[])")
    batch = [PAYLOAD] * k
    t = now()
    for _ in range(n // k):
        await st.fetch(batch)
    ins = n / (now() - t)
    st = await c.prepare("DELETE FROM t WHERE id = ANY($1::bigint[])")
    t = now()
    for s in range(0, n, k):
        await st.fetch(list(range(s + 1, s + k + 1)))
    dele = n / (now() - t)
    await c.close()
    return ins, dele


async def single_inserts(conns, n=8000):
    c = await fresh()
    cs = [await asyncpg.connect(DSN) for _ in range(conns)]

    async def lane(x):
        st = await x.prepare("INSERT INTO t(payload) VALUES ($1)")
        for _ in range(n // conns):
            await st.fetch(PAYLOAD)

    t = now()
    await asyncio.gather(*map(lane, cs))
    r = n / (now() - t)
    for x in (c, *cs):
        await x.close()
    return r


async def notify(n=2000):
    a, b = await asyncpg.connect(DSN), await asyncpg.connect(DSN)
    got = asyncio.Event()
    await b.add_listener("ch", lambda *_: got.set())
    lat = []
    for _ in range(n):
        t = now()
        await a.execute("NOTIFY ch")
        await got.wait()
        got.clear()
        lat.append((now() - t) * 1e3)
    await b.remove_listener("ch", lambda *_: None)
    await a.close()
    await b.close()
    return statistics.median(lat)


def repeat(fn, n=3):
    return [locked(fn) for _ in range(n)]


def main():
    servers.start("postgres")
    for sql in (f"DROP DATABASE IF EXISTS {DB} WITH (FORCE)", f"CREATE DATABASE {DB}"):
        subprocess.run([servers.pg_bin("psql"), "-q", servers.PG_DSN + "/postgres", "-c", sql], check=True)
    subprocess.run(
        [
            servers.pg_bin("pgbench"),
            "-h",
            "127.0.0.1",
            "-p",
            str(servers.PG_PORT),
            "-U",
            "postgres",
            "-i",
            "-q",
            "-s",
            "10",
            DB,
        ],
        check=True,
        capture_output=True,
    )
    for label, flags in (("select-only", ["-S"]), ("simple-update", ["-N"])):
        for c in (1, 8):
            report(f"pgbench {label}, {c} client(s)", repeat(partial(pgbench, flags, c)), "tps")
    report("COPY, asyncpg, 300k rows, 1 connection", repeat(lambda: asyncio.run(copy())), "rows/s")
    both = repeat(lambda: asyncio.run(unnest()))
    report("INSERT ... unnest, 500 rows per commit, 1 connection", [x for x, _ in both], "rows/s")
    report("DELETE id = ANY, 500 rows per commit, 1 connection", [x for _, x in both], "rows/s")
    for c in (1, 8, 32):
        report(
            f"single-row INSERT commits, asyncpg, {c} connection(s)",
            repeat(partial(lambda n: asyncio.run(single_inserts(n)), c)),
            "commits/s",
        )
    report("NOTIFY to LISTEN round trip, asyncpg, median", repeat(lambda: asyncio.run(notify())), "ms")

    def fsync():
        out = servers.as_user(
            [servers.pg_bin("pg_test_fsync"), "-s", "1", "-f", str(servers.RUN / "fsync.tmp")],
            capture_output=True,
            text=True,
        ).stdout
        return {m[1]: float(m[2]) for m in re.finditer(r"^\s+(fdatasync|fsync)\s+([\d.]+) ops/sec", out, re.MULTILINE)}

    runs = repeat(fsync)
    for k in runs[0]:
        report(f"pg_test_fsync {k} (8 kB)", [r[k] for r in runs], "ops/s")


if __name__ == "__main__":
    sys.exit(main())
