"""The REST edge, served over a backend that remembers what it was asked."""

from collections.abc import Iterator

import pytest

from tests.api.fake_backend import Backend
from tests.api.rest_client import RestClient, served
from treadle.api.app import create_app


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def client(backend: Backend) -> Iterator[RestClient]:
    with served(create_app(backend, max_body_bytes=10_000)) as client:
        yield client
