"""Where a running engine leaves its address, and how clients on the same machine find it.

The engine writes the same small JSON object to `<data dir>/connection.json` and to the file given with
`--ready-file`; the SDK, the command line and the test helpers read it. Only the standard library is used here, so that
every side can share these lines.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

CONNECTION_FILE = "connection.json"


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """What a client needs to talk to one engine process."""

    http_url: str
    grpc_address: str
    database_url: str
    token: str
    pid: int

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse what `to_json` wrote; raises ValueError for anything else."""
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("a connection file holds one JSON object")  # noqa: TRY004 - the caller expects one kind
        try:
            return cls(
                http_url=str(data["http_url"]),
                grpc_address=str(data["grpc_address"]),
                database_url=str(data["database_url"]),
                token=str(data["token"]),
                pid=int(data["pid"]),
            )
        except KeyError as missing:
            raise ValueError(f"the connection file has no {missing}") from None


def default_data_dir(environ: Mapping[str, str] | None = None) -> Path:
    """TREADLE_DATA_DIR, else `treadle` in the user's data folder."""
    env = os.environ if environ is None else environ
    if given := env.get("TREADLE_DATA_DIR"):
        return Path(given).expanduser()
    if xdg := env.get("XDG_DATA_HOME"):
        return Path(xdg).expanduser() / "treadle"
    return Path("~/.local/share/treadle").expanduser()


def read_connection(path: Path) -> ConnectionInfo | None:
    """The engine's address from a file it wrote, or None when there is no such (readable, whole) file."""
    try:
        return ConnectionInfo.from_json(path.read_bytes())
    except (OSError, ValueError):
        return None
