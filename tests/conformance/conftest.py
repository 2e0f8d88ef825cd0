"""One engine and one worker of the official SDK for the whole folder; a few tests bring their own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hatchet_sdk import Hatchet

from tests.conformance.harness import FLOWS, Lab, WorkerProcess
from tests.conformance.workers.basic import BasicTasks, declare
from tests.conformance.workers.flows import Flows
from tests.conformance.workers.flows import declare as declare_flows
from tests.wire_edge.raw import RawClient
from treadle.testing.engine import EngineProcess

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.conformance)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("conformance")
    with EngineProcess(folder / "engine") as engine:
        yield Lab(engine, folder)


@pytest.fixture(scope="session")
def worker(lab: Lab) -> Iterator[WorkerProcess]:
    """The worker that most tests share: 100 slots."""
    with lab.worker() as process:
        yield process


@pytest.fixture(scope="session")
def narrow_worker(lab: Lab) -> Iterator[WorkerProcess]:
    """A worker with a single slot, in a namespace of its own. Each test must leave the slot free."""
    with lab.worker(namespace="narrow", slots=1) as process:
        yield process


@pytest.fixture(scope="session")
def flows_worker(lab: Lab) -> Iterator[WorkerProcess]:
    """The worker with workflows of several tasks."""
    with lab.worker(FLOWS) as process:
        yield process


@pytest.fixture
def hatchet(lab: Lab) -> Hatchet:
    return lab.hatchet()


@pytest.fixture
def tasks(hatchet: Hatchet, worker: WorkerProcess) -> BasicTasks:
    """The tasks of the shared worker, to be run from here."""
    assert worker.exit_code() is None
    return declare(hatchet)


@pytest.fixture
def flows(hatchet: Hatchet, flows_worker: WorkerProcess) -> Flows:
    """The workflows of several tasks, to be run from here."""
    assert flows_worker.exit_code() is None
    return declare_flows(hatchet)


@pytest.fixture
def narrow_tasks(lab: Lab, narrow_worker: WorkerProcess) -> BasicTasks:
    assert narrow_worker.exit_code() is None
    return declare(lab.hatchet("narrow"))


@pytest.fixture
async def raw(lab: Lab) -> AsyncIterator[RawClient]:
    """The bare wire of the same engine, for what the SDK has no call for."""
    async with RawClient(lab.engine.grpc_address, lab.engine.token) as client:
        yield client


@pytest.fixture
def mark() -> str:
    """A name nobody else uses: for effects, for gates, for metadata."""
    return uuid4().hex
