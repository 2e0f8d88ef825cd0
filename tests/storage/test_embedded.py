"""The embedded server: keeps data, survives kill -9 of anything, is shared, and leaves other folders alone."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.databases import run_apart
from tests.support.eventually import eventually_sync
from treadle.storage.embedded import EmbeddedPostgres, EmbeddedPostgresError
from treadle.storage.embedded import account as account_module
from treadle.storage.embedded.postmaster import read_pid_file, running_postmaster

# An engine reduced to its use of the server: starts, says where, stops when told.
ENGINE = """
import sys
from pathlib import Path
from treadle.storage.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
print(server.start(), flush=True)
sys.stdin.readline()
server.stop()
"""
CAN_TRAVERSE = 1 << 2


def capabilities() -> int:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff")), 0)


needs_way_in = pytest.mark.skipif(
    os.geteuid() == 0 and not capabilities() & CAN_TRAVERSE,
    reason="root without the capability to pass through private folders",
)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="treadle-embedded-"))
    folder.chmod(0o711)
    yield folder / "data"
    EmbeddedPostgres(folder / "data").stop()
    shutil.rmtree(folder)


def execute(url: str, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()

    run_apart(run())


def notes(url: str) -> list[str]:
    async def run() -> list[str]:
        connection = await asyncpg.connect(url)
        rows = await connection.fetch("SELECT text FROM note ORDER BY text")
        await connection.close()
        return [row["text"] for row in rows]

    return run_apart(run())


def pid_of(server: EmbeddedPostgres) -> int:
    running = running_postmaster(server.cluster)
    assert running is not None
    return running.pid


def kill_server(server: EmbeddedPostgres) -> None:
    os.kill(pid_of(server), signal.SIGKILL)

    def is_gone() -> None:
        assert running_postmaster(server.cluster) is None

    eventually_sync(is_gone)


def start_engine(data_dir: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", ENGINE, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def read_url(engine: "subprocess.Popen[str]") -> str:
    assert engine.stdout is not None
    return engine.stdout.readline().strip()


def test_data_outlives_a_restart(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as server:
        execute(server.url, "CREATE TABLE note (text text)")
        execute(server.url, "INSERT INTO note VALUES ('first')")
        assert server.is_alive()
    assert not server.is_alive()
    with EmbeddedPostgres(data_dir) as again:
        assert again.url == server.url
        assert notes(again.url) == ["first"]


def test_committed_data_outlives_a_killed_server(data_dir: Path) -> None:
    first = EmbeddedPostgres(data_dir)
    execute(first.start(), "CREATE TABLE note (text text)")
    execute(first.url, "INSERT INTO note VALUES ('first')")
    kill_server(first)
    assert not first.is_alive()
    with EmbeddedPostgres(data_dir) as second:
        assert notes(second.url) == ["first"]
    first.stop()


def test_ensure_running_starts_a_server_that_died_and_only_then(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as server:
        assert server.ensure_running() is False
        for _ in range(3):
            kill_server(server)
            assert server.ensure_running() is True
            execute(server.url, "SELECT 1")


def test_only_one_of_many_callers_restarts_a_server_that_died(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as server:
        kill_server(server)
        restarts: list[bool] = []
        threads = [threading.Thread(target=lambda: restarts.append(server.ensure_running())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(restarts) == [False, False, False, True]


def test_ensure_running_is_for_users_of_the_server(data_dir: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="not started here"):
        EmbeddedPostgres(data_dir).ensure_running()


def test_two_engines_starting_at_once_share_one_server(data_dir: Path) -> None:
    engines = [start_engine(data_dir), start_engine(data_dir)]
    server = EmbeddedPostgres(data_dir)
    assert [read_url(engine) for engine in engines] == [server.url, server.url]
    pid = pid_of(server)

    engines[0].communicate("stop\n")
    assert pid_of(server) == pid
    execute(server.url, "SELECT 1")

    engines[1].communicate("stop\n")
    assert running_postmaster(server.cluster) is None
    assert [engine.returncode for engine in engines] == [0, 0]


def test_the_server_outlives_a_killed_engine_and_is_taken_over(data_dir: Path) -> None:
    engine = start_engine(data_dir)
    read_url(engine)
    server = EmbeddedPostgres(data_dir)
    pid = pid_of(server)
    engine.kill()
    engine.communicate()
    server.start()
    assert pid_of(server) == pid
    server.stop()
    assert running_postmaster(server.cluster) is None


def test_ctrl_c_in_the_engines_terminal_does_not_reach_the_server(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as server:
        assert os.getsid(pid_of(server)) != os.getsid(0)


def test_a_pid_file_that_names_a_stranger_is_stale(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as server:
        pass
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (server.cluster / "postmaster.pid").write_text(f"{stranger.pid}\n{server.cluster}\n", encoding="ascii")
        with server:
            execute(server.url, "SELECT 1")
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("content", ["", "not a number\n"])
def test_a_torn_pid_file_is_stale(data_dir: Path, content: str) -> None:
    with EmbeddedPostgres(data_dir) as server:
        pass
    (server.cluster / "postmaster.pid").write_text(content, encoding="ascii")
    assert read_pid_file(server.cluster) is None
    with server:
        execute(server.url, "SELECT 1")


def test_a_start_that_was_killed_while_making_the_cluster_leaves_nothing(data_dir: Path) -> None:
    half_made = data_dir / ".postgres-init-abc" / "base"
    half_made.mkdir(parents=True)
    data_dir.chmod(0o711)
    with EmbeddedPostgres(data_dir) as server:
        execute(server.url, "SELECT 1")
    assert not half_made.parent.exists()


def test_a_path_too_long_for_a_socket_gets_a_short_private_folder(data_dir: Path) -> None:
    deep = data_dir / ("long" * 30)
    with EmbeddedPostgres(deep) as server:
        assert stat.S_IMODE(server.sockets.stat().st_mode) == 0o700
        assert not server.sockets.is_relative_to(data_dir)
        execute(server.url, "SELECT 1")
    assert not server.sockets.exists()


def test_a_socket_folder_that_others_may_enter_is_refused(data_dir: Path) -> None:
    (data_dir / "run").mkdir(parents=True)
    (data_dir / "run").chmod(0o755)
    with pytest.raises(EmbeddedPostgresError, match="not a private folder"):
        EmbeddedPostgres(data_dir).start()


def test_nobody_else_may_enter_the_folders_of_the_server(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as server:
        modes = [stat.S_IMODE(folder.stat().st_mode) for folder in (server.cluster, server.sockets)]
        assert modes == [0o700, 0o700]


@needs_way_in
def test_folders_we_did_not_make_keep_owner_and_mode(data_dir: Path) -> None:
    private = data_dir / "private"
    own = private / "own"
    own.mkdir(parents=True)
    private.chmod(0o700)
    own.chmod(0o700)

    def look() -> list[tuple[int, int, int]]:
        infos = [folder.stat() for folder in (own, *own.parents)]
        return [(info.st_uid, info.st_gid, info.st_mode) for info in infos]

    before = look()
    with EmbeddedPostgres(own) as server:
        execute(server.url, "SELECT 1")
        assert look() == before
    assert look() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for the server")
def test_as_root_a_folder_the_server_cannot_reach_is_an_error_that_says_what_to_do(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refuses = tmp_path / "as_user.py"
    refuses.write_text("raise SystemExit(1)", encoding="ascii")
    monkeypatch.setattr(account_module, "_AS_USER", refuses)
    data_dir.mkdir(mode=0o700)
    with pytest.raises(EmbeddedPostgresError, match=rf"may not pass through {data_dir}\. .*--data-dir.*--database-url"):
        EmbeddedPostgres(data_dir).start()
    assert [entry.name for entry in data_dir.glob(".postgres-init-*")] == []


def test_a_cluster_of_another_version_is_refused(data_dir: Path) -> None:
    cluster = data_dir / "postgres"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("17\n", encoding="ascii")
    with pytest.raises(EmbeddedPostgresError, match="made by PostgreSQL 17"):
        EmbeddedPostgres(data_dir).start()
    assert (cluster / "PG_VERSION").exists()


def test_a_folder_that_is_no_cluster_is_refused_and_kept(data_dir: Path) -> None:
    precious = data_dir / "postgres" / "letter.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("dear", encoding="ascii")
    with pytest.raises(EmbeddedPostgresError, match="no PostgreSQL data folder"):
        EmbeddedPostgres(data_dir).start()
    assert precious.read_text(encoding="ascii") == "dear"


def test_settings_reach_the_server_and_commits_are_durable_by_default(data_dir: Path) -> None:
    async def shown(url: str) -> list[str]:
        connection = await asyncpg.connect(url)
        names = ("fsync", "synchronous_commit", "full_page_writes", "listen_addresses", "work_mem")
        values = [str(await connection.fetchval(f"SHOW {name}")) for name in names]
        await connection.close()
        return values

    with EmbeddedPostgres(data_dir, settings={"work_mem": "7MB"}) as server:
        assert run_apart(shown(server.url)) == ["on", "on", "on", "", "7MB"]


def test_a_setting_the_server_does_not_know_is_reported(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir, settings={"no_such_setting": "1"})
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        server.start()
