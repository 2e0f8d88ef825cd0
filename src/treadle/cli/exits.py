"""How a command ends: its exit code, and what it says when it fails."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of `treadle`. Scripts rely on them: never renumber."""

    OK = 0
    RUN_FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNREACHABLE = 5
    TIMED_OUT = 6
    CANCELLED = 7
    INTERRUPTED = 130


class CommandError(Exception):
    """Ends a command with a message on stderr and an exit code."""

    def __init__(self, code: Exit, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
