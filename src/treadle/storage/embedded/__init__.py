"""A PostgreSQL server in a folder, for when none is named."""

from treadle.storage.embedded.errors import EmbeddedPostgresError
from treadle.storage.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]
