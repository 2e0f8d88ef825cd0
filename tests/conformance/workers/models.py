"""What goes into the tasks of `basic`, and what comes out."""

from typing import Any

from pydantic import BaseModel


class Number(BaseModel):
    value: int


class Doubled(BaseModel):
    value: int
    worker_id: str


class Marked(BaseModel):
    """A task that records what it does under `mark`, and may wait at the gate of that name."""

    mark: str


class Flaky(BaseModel):
    mark: str
    failures: int = 0
    message: str = "planned failure"


class Attempt(BaseModel):
    retry_count: int
    attempt_number: int
    max_attempts: int


class Family(BaseModel):
    """A parent with `children` children; it fails once after they are done when told so."""

    mark: str
    children: int = 1
    with_keys: bool = False
    backwards_on_retry: bool = False
    fail_once: bool = False


class FamilyReport(BaseModel):
    run_id: str
    child_runs: list[str]
    squares: list[int]


class Child(BaseModel):
    mark: str
    number: int


class Square(BaseModel):
    value: int
    seen: dict[str, Any]


class Seen(BaseModel):
    """What a task finds in its context."""

    workflow_run_id: str
    task_run_id: str
    workflow_id: str | None
    workflow_version_id: str | None
    workflow_name: str
    task_name: str
    additional_metadata: dict[str, Any]
    priority: int | None
    parent_workflow_run_id: str | None
    child_index: int | None
    child_key: str | None


class Text(BaseModel):
    text: str


class Numbered(BaseModel):
    """A recorded task: `number` tells the runs apart."""

    mark: str
    number: int
