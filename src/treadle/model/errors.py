"""What can go wrong on purpose, in words a caller can act on."""

# ruff: noqa: N818 - the names say what is wrong; "Error" would only repeat it

from __future__ import annotations


class TreadleError(Exception):
    """Base of the errors that are answers, not bugs.

    ``field`` names the part of the request that is to blame, e.g. ``tasks[2].timeout``;
    it is empty when no single part is.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(field, message)
        self.field = field
        self.message = message

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class InvalidInput(TreadleError):
    """The request breaks a rule; sending it again changes nothing."""


class NotFound(TreadleError):
    """The thing named does not exist, or belongs to someone else."""


class Conflict(TreadleError):
    """The thing exists already, or is in a state that forbids this."""


class Unsupported(TreadleError):
    """The request is well formed, but this engine cannot do it."""


class Exhausted(TreadleError):
    """A limit is reached; trying later or smaller may work."""


class PermissionDenied(TreadleError):
    """The caller is known, but may not do this."""


class Unavailable(TreadleError):
    """The engine cannot do this right now; trying again soon is right."""
