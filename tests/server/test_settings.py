"""Settings come from options, then the environment, then defaults; what is wrong is named."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from treadle.server.settings import ROLES, Settings


@pytest.fixture(autouse=True)
def _no_settings_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("TREADLE_"):
            monkeypatch.delenv(name)


def test_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings = Settings()
    assert settings.data_dir == tmp_path / "treadle"
    assert settings.database_url is None
    assert (settings.host, settings.grpc_port, settings.http_port) == ("127.0.0.1", 7077, 8080)
    assert settings.roles == ROLES
    assert settings.max_message_bytes == 4 * 1024 * 1024


def test_the_environment_and_what_overrides_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TREADLE_GRPC_PORT", "1234")
    monkeypatch.setenv("TREADLE_HTTP_PORT", "1235")
    monkeypatch.setenv("TREADLE_ROLES", "scheduler, intake")
    monkeypatch.setenv("TREADLE_LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("TREADLE_DATABASE_URL", "")
    settings = Settings(http_port=0, data_dir=tmp_path)
    assert (settings.grpc_port, settings.http_port) == (1234, 0)
    assert settings.roles == ("intake", "scheduler")
    assert settings.log_level == "debug"
    assert settings.database_url is None


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ROLES", "intake,cook", "unknown role 'cook'"),
        ("ROLES", " , ", "at least one"),
        ("GRPC_PORT", "70000", "less than or equal to 65535"),
        ("DATABASE_URL", "mysql://x", "postgresql://"),
        ("CANARY_INTERVAL", "4", "at least twice"),
        ("WORKER_LOST_AFTER", "0", "greater than 0"),
        ("LOG_FORMAT", "xml", "console"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(f"TREADLE_{name}", value)
    with pytest.raises(ValidationError, match=said):
        Settings()


def test_paths_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(data_dir=Path("d"), ready_file=Path("r.json"))
    assert settings.data_dir == tmp_path / "d"
    assert settings.ready_file == tmp_path / "r.json"
