"""The files that say where an engine is."""

import stat
from dataclasses import replace
from pathlib import Path

from treadle.runtime.connection import CONNECTION_FILE, ConnectionInfo, default_data_dir, read_connection
from treadle.server.ready import remove_ready, write_ready
from treadle.server.settings import Settings

INFO = ConnectionInfo(
    http_url="http://127.0.0.1:1", grpc_address="127.0.0.1:2", database_url="postgresql://x", token="t", pid=7
)


def _settings(folder: Path) -> Settings:
    return Settings(data_dir=folder / "data", ready_file=folder / "deep" / "ready.json")


def test_both_files_appear_private_and_go_away(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    write_ready(settings, INFO)
    paths = (settings.data_dir / CONNECTION_FILE, tmp_path / "deep" / "ready.json")
    for path in paths:
        assert read_connection(path) == INFO
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    remove_ready(settings, INFO)
    assert not any(path.exists() for path in paths)
    remove_ready(settings, INFO)


def test_another_engines_files_stay(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    write_ready(settings, INFO)
    successor = replace(INFO, pid=8)
    write_ready(settings, successor)
    remove_ready(settings, INFO)
    assert read_connection(settings.data_dir / CONNECTION_FILE) == successor


def test_a_broken_file_is_no_connection(tmp_path: Path) -> None:
    for text in ("", "[]", "{", '{"pid": 1}'):
        path = tmp_path / "c.json"
        path.write_text(text)
        assert read_connection(path) is None
    assert read_connection(tmp_path / "absent") is None


def test_the_data_folder_follows_the_environment() -> None:
    assert default_data_dir({"TREADLE_DATA_DIR": "/a"}) == Path("/a")
    assert default_data_dir({"XDG_DATA_HOME": "/b"}) == Path("/b/treadle")
    assert default_data_dir({}) == Path.home() / ".local/share/treadle"
