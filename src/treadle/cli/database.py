"""The database that a command without an engine works on: the one named, or the embedded one while the command runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from treadle.cli.exits import CommandError, Exit

if TYPE_CHECKING:
    from treadle.server.settings import Settings


@contextmanager
def database_of(settings: "Settings") -> Iterator[str]:
    """A URL to connect to. An embedded database that no engine uses is started for the block and stopped after it."""
    from treadle.model.errors import Unavailable
    from treadle.storage.embedded import EmbeddedPostgres, EmbeddedPostgresError

    try:
        if settings.database_url is not None:
            yield settings.database_url
            return
        with EmbeddedPostgres(settings.data_dir) as postgres:
            yield postgres.url
    except EmbeddedPostgresError as problem:
        raise CommandError(Exit.UNREACHABLE, str(problem)) from None
    except Unavailable as problem:
        raise CommandError(Exit.UNREACHABLE, str(problem)) from None
