import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from treadle.storage.embedded import EmbeddedPostgres

# A machine that loses power takes the tests with it: nothing needs to reach the disk.
_FAST: Mapping[str, str] = MappingProxyType(
    {"fsync": "off", "full_page_writes": "off", "shared_buffers": "128MB", "min_wal_size": "80MB"}
)


class TemporaryPostgres:
    """A PostgreSQL server for the time of a test session, gone without a trace afterwards."""

    def __init__(self, *, settings: Mapping[str, str] = _FAST) -> None:
        self._settings = settings
        self._folder: Path | None = None
        self._server: EmbeddedPostgres | None = None

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def server(self) -> EmbeddedPostgres:
        if self._server is None:
            raise RuntimeError("the server has not been started")
        return self._server

    def start(self) -> str:
        self._folder = Path(tempfile.mkdtemp(prefix="treadle-postgres-"))
        # made by us, so ours to open: run as root, the server's user has to pass through
        self._folder.chmod(0o711)
        self._server = EmbeddedPostgres(self._folder, settings=self._settings)
        try:
            return self._server.start()
        except BaseException:
            self._remove()
            raise

    def stop(self) -> None:
        if self._server is None:
            return
        try:
            self._server.stop()
        finally:
            self._remove()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _remove(self) -> None:
        self._server = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
