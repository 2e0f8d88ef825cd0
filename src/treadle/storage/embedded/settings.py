"""How the embedded server is set up."""

from collections.abc import Mapping
from pathlib import Path

PORT = 5432
CONFIG_FILE = "treadle.conf"

# Never weaker than a default PostgreSQL in what a commit promises. The rest suits many small commits
# on a small machine; whoever outgrows it, outgrows the embedded server.
DEFAULTS: Mapping[str, str] = {
    "listen_addresses": "",  # the socket only: nothing to guess, nothing to scan
    "port": str(PORT),
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # each checkpoint makes the next change to a page log the whole page: have few
    "checkpoint_timeout": "15min",
    "max_wal_size": "4GB",
    "min_wal_size": "512MB",
    "random_page_cost": "1.1",  # solid-state disks
    "jit": "off",  # compiling costs more than any statement of ours takes
    "max_worker_processes": "4",
    "max_parallel_workers": "2",
    "max_parallel_workers_per_gather": "1",
    "max_parallel_maintenance_workers": "1",
    "autovacuum_naptime": "10s",  # queue tables turn over in seconds
    "timezone": "UTC",
    "log_timezone": "UTC",
    # a week of logs, one file a day
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_lock_waits": "on",
    "log_line_prefix": "%m [%p] %a ",
}


def render(sockets: Path, build_options: str, overrides: Mapping[str, str]) -> str:
    values = dict(DEFAULTS)
    if "--with-lz4" in build_options:
        values["wal_compression"] = "lz4"
    # a list of folders: double quotes keep a comma in the path from splitting it
    values["unix_socket_directories"] = f'"{sockets}"'
    values["unix_socket_permissions"] = "0700"
    values |= overrides
    lines = [f"{name} = {_quote(value)}" for name, value in values.items()]
    return "\n".join(["# Written anew at each start. For settings of your own: ALTER SYSTEM.", *lines, ""])


def _quote(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
