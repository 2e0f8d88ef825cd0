"""Settings of a task, and settings of one call of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from treadle.model.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from treadle.sdk.backoff import Backoff

MIN_PRIORITY, MAX_PRIORITY = 1, 3


def milliseconds(duration: timedelta) -> int:
    """Whole milliseconds, part of one counting as one: a tiny limit must not become none at all."""
    return -(-duration // type(duration)(milliseconds=1))


def check_priority(priority: int, where: str) -> int:
    if not MIN_PRIORITY <= priority <= MAX_PRIORITY:
        raise ValueError(f"{where}: priority {priority} is out of range: use 1 (low) to 3 (high)")
    return priority


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What a task declares about itself. None leaves a setting to the engine."""

    retries: int = 0
    backoff: Backoff | None = None
    timeout: timedelta | None = None
    schedule_timeout: timedelta | None = None
    priority: int | None = None
    description: str = ""
    slots: int = 1

    def check(self, task: str) -> None:
        """Refuse what the engine would refuse, where the mistake was made.

        Raises:
            ValueError: A setting is out of range.
        """
        if self.retries < 0:
            raise ValueError(f"task {task}: retries={self.retries} is negative")
        if self.slots < 1:
            raise ValueError(f"task {task}: slots={self.slots} is less than 1")
        for name, value in (("timeout", self.timeout), ("schedule_timeout", self.schedule_timeout)):
            if value is not None and value.total_seconds() <= 0:
                raise ValueError(f"task {task}: {name}={value} is not positive")
        if self.priority is not None:
            check_priority(self.priority, f"task {task}")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What one call says about its run."""

    priority: int = 0
    metadata: str = ""
    child_key: str = ""
    detached: bool = False


def encode_metadata(metadata: Mapping[str, Any]) -> str:
    """Metadata as JSON text.

    Raises:
        InvalidInput: A key is not a text, or a value cannot be JSON.
    """
    for key in metadata:
        if not isinstance(key, str):
            raise InvalidInput("metadata", f"key {key!r} is not a text")
    try:
        text = json.dumps(dict(metadata), separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput("metadata", f"cannot be JSON: {error}") from None
    if "\\u0000" in text:
        raise InvalidInput("metadata", "holds the NUL character (\\u0000), which cannot be stored")
    return text
