"""What to measure, and the shape of the processes that are measured."""

from dataclasses import dataclass
from pathlib import Path

WARM_UP_RUNS = 201


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run of one scenario.

    Attributes:
        scenario: its name.
        tasks: how many tasks are measured.
        client: whose SDK runs the tasks and asks for them: "treadle" or "hatchet".
        slots: tasks that the worker runs at once, in each of its processes.
        processes: processes of the worker.
        window: most runs awaited at once.
        payload_bytes: size of each input and of each result; 0: just a number.
        tenants: among how many tenants the tasks are spread; each has a worker session of its own.
        engines: engine processes on the one database.
        parent_dir: where the fresh folder is made.
        database_url: an empty database to use instead of an embedded one.
    """

    scenario: str
    tasks: int
    client: str = "treadle"
    slots: int = 1000
    processes: int = 1
    window: int = 2000
    payload_bytes: int = 0
    tenants: int = 1
    engines: int = 1
    parent_dir: Path | None = None
    database_url: str | None = None
