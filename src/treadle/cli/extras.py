"""Commands that need the engine say so when only the client half of Treadle is installed."""

from importlib.util import find_spec

from treadle.cli.exits import CommandError, Exit

_SERVER_MODULES = ("asyncpg", "fastapi", "uvicorn", "pydantic_settings", "jwt", "structlog", "orjson", "cel")


def require_server(command: str) -> None:
    """Raise CommandError unless the packages of `treadle[server]` are there."""
    missing = [name for name in _SERVER_MODULES if find_spec(name) is None]
    if missing:
        raise CommandError(
            Exit.USAGE,
            f"`treadle {command}` needs the engine, which is not installed here (no module {missing[0]}).",
            hint='pip install "treadle[server]"',
        )
