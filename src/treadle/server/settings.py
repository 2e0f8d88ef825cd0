"""Every knob of an engine process: environment variables `TREADLE_*`, overridden by command-line options."""

import sys
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from treadle.runtime.connection import default_data_dir

ROLES = ("intake", "dispatcher", "scheduler", "timers", "monitor", "api", "janitor")

Port = Annotated[int, Field(ge=0, le=65535)]


def _log_format_for_this_process() -> Literal["console", "json"]:
    return "console" if sys.stderr.isatty() else "json"


class Settings(BaseSettings):
    """Settings of one engine process. Times are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="TREADLE_", extra="ignore", frozen=True)

    database_url: str | None = Field(
        default=None, description="A PostgreSQL 15-18 to use. Without it, one is started in the data folder."
    )
    data_dir: Path = Field(
        default_factory=default_data_dir, description="Folder for the embedded database and connection.json."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on, for gRPC and HTTP.")
    grpc_port: Port = Field(default=7077, description="Port for gRPC; 0 takes any free one.")
    http_port: Port = Field(default=8080, description="Port for HTTP; 0 takes any free one.")
    public_grpc_address: str | None = Field(
        default=None,
        description="host:port that tokens name to workers, when it differs from the one listened on.",
    )
    public_http_url: str | None = Field(
        default=None, description="URL that tokens name to clients, when it differs from the one listened on."
    )
    roles: Annotated[tuple[str, ...], NoDecode] = Field(
        default=ROLES, description="Which parts of the engine this process runs, separated by commas."
    )
    ready_file: Path | None = Field(default=None, description="File to write once the engine is ready for work.")
    max_message_bytes: int = Field(
        default=4 * 1024 * 1024, ge=64 * 1024, le=1024**3, description="Largest gRPC message, both ways."
    )
    worker_lost_after: float = Field(
        default=30.0, gt=0, description="A worker that sends heartbeats by itself is lost after this silence."
    )
    session_lost_after: float = Field(
        default=5.0, gt=0, description="A worker on a session stream is lost after this silence."
    )
    canary_interval: float = Field(default=1.0, gt=0, description="Pause between two canaries on a session stream.")
    retention_days: int = Field(
        default=30, ge=0, description="Days for which ended runs are kept, counted from their start; 0 keeps them all."
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = Field(default_factory=_log_format_for_this_process)

    @field_validator("roles", mode="before")
    @classmethod
    def _split_roles(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)
        return value

    @field_validator("roles")
    @classmethod
    def _know_roles(cls, roles: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [role for role in roles if role not in ROLES]
        if unknown:
            raise ValueError(f"unknown role {unknown[0]!r}; the roles are {', '.join(ROLES)}")
        if not roles:
            raise ValueError(f"at least one of {', '.join(ROLES)} is needed")
        return tuple(role for role in ROLES if role in roles)

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, url: str | None) -> str | None:
        if not url:
            return None
        if not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("a database URL starts with postgresql://")
        return url

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("data_dir", "ready_file")
    @classmethod
    def _make_absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @model_validator(mode="after")
    def _canary_fits_silence(self) -> Self:
        if self.canary_interval * 2 > self.session_lost_after:
            raise ValueError("session_lost_after must be at least twice canary_interval")
        return self
